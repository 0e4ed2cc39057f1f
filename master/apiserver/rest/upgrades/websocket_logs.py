"""A log on a WebSocket: each message is a piece of it, as it is or in base64; an empty one begins.

Source: k8s.io/streaming pkg/httpstream/wsstream (Reader).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

from common.api.errors import StatusError
from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import negotiation
from master.apiserver.rest.upgrades.negotiation import WEBSOCKET_PROTOCOL_HEADER

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
HEARD_MAX_BYTES = 4 << 10
"""Of a message of the client, which has nothing to say."""


async def answer(
    request: web.Request, first: bytes, rest: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send a log until it or the client ends; raises StatusError 400 for unknown protocols."""
    protocol = BINARY
    if WEBSOCKET_PROTOCOL_HEADER in request.headers:
        protocol = negotiation.websocket_protocol(request.headers, (BINARY, BASE64))
    socket = web.WebSocketResponse(protocols=(protocol,), max_msg_size=HEARD_MAX_BYTES)
    await socket.prepare(request)
    log = _Log(request, socket, is_text=protocol == BASE64)
    sending = asyncio.create_task(log.send_all(first, rest))
    listening = asyncio.create_task(_listen(socket))
    try:
        done, _ = await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        listening.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)
    with suppress(ConnectionError):  # the client has left, or was cut off
        done.pop().result()
        await socket.close()
    return socket


async def _listen(socket: web.WebSocketResponse) -> None:
    """Until the client closes; what it says is dropped."""
    async for _ in socket:
        pass


class _Log:
    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, *, is_text: bool
    ) -> None:
        self._request = request
        self._socket = socket
        self._is_text = is_text

    async def send_all(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        """Send a log; what breaks it off is its last message."""
        await self._send(b"")
        try:
            if first:
                await self._send(first)
            async for piece in rest:
                await self._send(piece)
        except StatusError as error:
            await self._send(f"\n{error.message}\n".encode())

    async def _send(self, data: bytes) -> None:
        """Send a message; a client that takes none for long is cut off."""
        try:
            async with asyncio.timeout(outflow.PAUSE_SECONDS):
                if self._is_text:
                    await self._socket.send_str(base64.b64encode(data).decode())
                else:
                    await self._socket.send_bytes(data)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from error
