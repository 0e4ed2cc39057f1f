"""exec and attach over a WebSocket: the first byte of each message names its channel.

    0 stdin   1 stdout   2 stderr   3 how it has ended (a Status)   4 the size of the terminal

With v5, 255 and the number of a channel close that channel: so the process reads the end of its
input. Source: k8s.io/apimachinery pkg/util/remotecommand; KEP-4006.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import WSMessage, WSMsgType, web

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.auth.live import ending
from master.apiserver.registry.duplex import STDIN, Command, Duplex
from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import outcomes

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)
MESSAGE_MAX_BYTES = 1 << 20
"""Of a client's message; kubectl's are of 32 KiB."""
ERROR, RESIZE, CLOSE = 3, 4, 255


async def answer(request: web.Request, command: Command) -> web.StreamResponse:
    """Run a command for a client that asks for a WebSocket; raises StatusError 400 to any other.

    What fails before there is a WebSocket is raised, too; what fails later is told on it.
    """
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=MESSAGE_MAX_BYTES)
    ready = socket.can_prepare(request)
    if not ready:
        raise errors.bad_request("Upgrade request required")
    if ready.protocol is None:
        text = f"the client offers none of the protocols {', '.join(PROTOCOLS)}"
        raise errors.bad_request(text)
    async with command.run() as duplex:
        await socket.prepare(request)
        client = _Channels(request, socket, ready.protocol)
        try:
            with ending():
                await _converse(client, duplex)
        except StatusError as error:
            await client.send(ERROR, outcomes.failure(error))
        await socket.close()
    return socket


class _Channels:
    """The client's end."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, protocol: str) -> None:
        self._request = request
        self._socket = socket
        self._closes = protocol == V5

    async def send(self, channel: int, data: bytes) -> None:
        """Send a message; a client that takes none for long is cut off."""
        try:
            async with asyncio.timeout(outflow.PAUSE_SECONDS):
                await self._socket.send_bytes(bytes((channel,)) + data)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from error

    async def pass_on(self, duplex: Duplex) -> None:
        """Everything that the client sends, until it leaves."""
        async for message in self._socket:
            if (data := _bytes(message)) is not None:
                await self._take(data[0], data[1:], duplex)

    async def _take(self, channel: int, data: bytes, duplex: Duplex) -> None:
        if channel == STDIN:
            await duplex.send(data, STDIN)
        elif channel == RESIZE:
            if (size := outcomes.terminal_size(data)) is not None:
                duplex.resize(size.Width, size.Height)
        elif channel == CLOSE and self._closes and data[:1] == b"\0":
            duplex.close(STDIN)


def _bytes(message: WSMessage) -> bytes | None:
    """What a message holds; None when that is nothing."""
    data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
    return data if isinstance(data, bytes) and data else None


async def _converse(client: _Channels, duplex: Duplex) -> None:
    """Pass everything on, both ways, until the command has ended or the client has left."""
    speaking = asyncio.create_task(_speak(client, duplex))
    listening = asyncio.create_task(client.pass_on(duplex))
    try:
        done, _ = await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        speaking.cancel()
        listening.cancel()
        await asyncio.gather(speaking, listening, return_exceptions=True)
    with suppress(ConnectionResetError):  # the client has left, or was cut off
        done.pop().result()


async def _speak(client: _Channels, duplex: Duplex) -> None:
    """What the command says, and how it ends."""
    try:
        while (piece := await duplex.receive()) is not None:
            if piece.data:
                await client.send(piece.channel, piece.data)
        await client.send(ERROR, outcomes.outcome(duplex.exit_code))
    except StatusError as error:
        await client.send(ERROR, outcomes.failure(error))
