"""The channels of exec and attach on a WebSocket: the first byte of each message is the channel.

    0 stdin   1 stdout   2 stderr   3 how it has ended (a Status)   4 the size of the terminal

With v5, 255 and the number of a channel close that channel: so the process reads the end of its
input. Before v4 the end is told by a text, and only if something went wrong. Source:
k8s.io/apimachinery pkg/util/remotecommand; KEP-4006.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import WSMessage, WSMsgType, web

from master.apiserver.registry.duplex import STDIN, Duplex
from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import outcomes
from master.apiserver.rest.upgrades.outcomes import ERROR, RESIZE, End

V5, V4, V1 = "v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"
PROTOCOLS = (V5, V4, V1)
MESSAGE_MAX_BYTES = 1 << 20
"""Of a client's message; kubectl's are of 32 KiB."""
CLOSE = 255


class WebSocketChannels:
    """The client's end."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, protocol: str) -> None:
        self._request = request
        self.socket = socket
        """Iterate for what the client sends."""
        self._protocol = protocol

    @classmethod
    @asynccontextmanager
    async def switch(cls, request: web.Request, protocol: str) -> AsyncIterator[WebSocketChannels]:
        """Answer 101 with the subprotocol; closed in the end. Raises ConnectionError."""
        socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=MESSAGE_MAX_BYTES)
        await socket.prepare(request)
        pinging = asyncio.create_task(_ping(socket))
        try:
            yield cls(request, socket, protocol)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        await socket.close()

    @property
    def response(self) -> web.StreamResponse:
        """What the handler returns."""
        return self.socket

    async def send(self, channel: int, data: bytes) -> None:
        """Send a message; a client that takes none for long is cut off."""
        try:
            async with asyncio.timeout(outflow.PAUSE_SECONDS):
                await self.socket.send_bytes(bytes((channel,)) + data)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from error

    async def end(self, how: End) -> None:
        """Tell how the command has ended; raises ConnectionError."""
        if self._protocol != V1:
            await self.send(ERROR, how.status)
        elif how.text:
            await self.send(ERROR, how.text)

    async def pass_on(self, duplex: Duplex) -> None:
        """Everything that the client sends, until it leaves."""
        async for message in self.socket:
            if (data := _bytes(message)) is not None:
                await self._take(data[0], data[1:], duplex)

    async def _take(self, channel: int, data: bytes, duplex: Duplex) -> None:
        if channel == STDIN:
            await duplex.send(data, STDIN)
        elif channel == RESIZE:
            if (size := outcomes.terminal_size(data)) is not None:
                duplex.resize(size.Width, size.Height)
        elif channel == CLOSE and self._protocol == V5 and data[:1] == b"\0":
            duplex.close(STDIN)


async def _ping(socket: web.WebSocketResponse) -> None:
    """Until the connection is known to be lost, which ends the request."""
    while True:
        await asyncio.sleep(outflow.PING_SECONDS)
        await socket.ping()


def _bytes(message: WSMessage) -> bytes | None:
    """What a message holds; None when that is nothing."""
    data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
    return data if isinstance(data, bytes) and data else None
