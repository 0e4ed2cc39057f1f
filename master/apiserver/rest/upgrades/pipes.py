"""The connection of a request that was upgraded, as a pipe of bytes.

Both directions are held back: what the other task does not read stays with the client, and a
client that reads nothing for `outflow.PAUSE_SECONDS` is cut off.

    SwitchedPipe    the raw connection after `101 Switching Protocols`
    WebSocketPipe   a WebSocket whose binary messages, wherever they are cut, are the bytes
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from master.apiserver.rest import outflow

READ_AHEAD_BYTES = 64 << 10
"""What is taken from a connection before anybody asks for it; the rest waits on its way."""
MESSAGE_MAX_BYTES = 1 << 20
"""Of a WebSocket, which must be whole before it is handed on; kubectl's have at most 32 KiB."""


class Pipe(Protocol):
    """Bytes in both directions, for one task that reads and one that writes.

    `response` is what a handler returns once the pipe is closed. Where the server runs with
    `handler_cancellation`, a client that goes before that ends the handler's task.
    """

    response: web.StreamResponse

    async def read(self) -> bytes:
        """The next bytes, a piece of `outflow` at most; b"" at the end.

        Raises ConnectionError when the connection breaks.
        """

    async def write(self, data: bytes) -> None:
        """Send; returns when the connection takes more. Raises ConnectionError."""

    async def close(self) -> None:
        """Send what is unsent, drop what still comes, and wait until the client has closed.

        Nobody may be reading, and the caller says how long to wait. Raises ConnectionError.
        A connection that was closed with bytes on their way to us could be reset, and the client
        would lose the last ones of ours.
        """

    def abort(self) -> None:
        """Close at once, whatever is unsent."""


class SwitchedPipe:
    """The raw connection of a request. A client must wait for the 101 before it sends on it:
    aiohttp drops or misreads what comes earlier. kubectl waits."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.response = response
        self._request = request
        self._incoming = _Incoming(request.protocol, _transport(request))

    @classmethod
    async def switch(
        cls, request: web.Request, protocol: str, headers: Mapping[str, str]
    ) -> SwitchedPipe:
        """Answer 101 with the protocol and more headers. Raises ConnectionError."""
        switched = {"Connection": "Upgrade", "Upgrade": protocol, **headers}
        response = web.StreamResponse(status=101, headers=switched)
        response.force_close()
        pipe = cls(request, response)
        await response.prepare(request)
        return pipe

    async def read(self) -> bytes:
        """See Pipe."""
        return await self._incoming.read()

    async def write(self, data: bytes) -> None:
        """See Pipe."""
        await outflow.write(self._request, self.response, data, stall_seconds=outflow.PAUSE_SECONDS)

    async def close(self) -> None:
        """See Pipe. What is spoken on the pipe has told the client that this is the end."""
        await self._incoming.leave()

    def abort(self) -> None:
        """See Pipe."""
        self._incoming.transport.abort()


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the client has gone")
    return request.transport


class _Incoming(asyncio.Protocol):
    """Takes over what comes in on a connection; aiohttp still learns of all else.

    A parser of ours in aiohttp's protocol (`set_parser`, as for WebSockets) would not do: that
    protocol cannot be paused then, since it takes the connection for one of HTTP still.
    """

    def __init__(self, http: web.RequestHandler, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._http = http
        self._received = bytearray()
        self._paused = False
        self._leaving = False
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        transport.set_protocol(self)

    async def read(self) -> bytes:
        """The next bytes, or b"" at the end; raises ConnectionResetError."""
        while not self._received:
            if self._error is not None:
                raise ConnectionResetError("the connection broke") from self._error
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._received[: outflow.PIECE_BYTES])
        del self._received[: len(data)]
        if self._paused and len(self._received) < READ_AHEAD_BYTES:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def leave(self) -> None:
        """Drop what comes until the client closes; raises ConnectionResetError.

        The task that leaves ends in its own time: for aiohttp the connection lasts as long.
        """
        if self._ended:
            return
        task = asyncio.current_task()
        assert task is not None
        self._leaving = True
        task.add_done_callback(self._left)
        while await self.read():
            pass

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leaving = False
        if self._ended:
            self._http.connection_lost(self._error)

    def data_received(self, data: bytes) -> None:
        """Of asyncio: keep it, and take no more when there is enough."""
        self._received += data
        if not self._paused and len(self._received) >= READ_AHEAD_BYTES:
            self._paused = True
            self.transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: the end."""
        self._ended, self._error = True, exc
        self._news.set()
        if not self._leaving:
            self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """Of asyncio: the response waits in its `write`."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Of asyncio: it goes on."""
        self._http.resume_writing()


class WebSocketPipe:
    """A WebSocket whose messages are the bytes; aiohttp holds the connection back when they are
    not read, and answers pings while somebody reads."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse[Any]) -> None:
        self.response: web.StreamResponse = response
        self._request = request
        self._websocket = response
        self._rest = b""
        """Of the last message."""

    @classmethod
    async def switch(cls, request: web.Request, protocol: str) -> WebSocketPipe:
        """Answer 101 with the subprotocol. Raises ConnectionError, or web.HTTPBadRequest."""
        response = web.WebSocketResponse(
            protocols=(protocol,),
            compress=False,
            max_msg_size=MESSAGE_MAX_BYTES,
            timeout=outflow.PAUSE_SECONDS,
        )
        await response.prepare(request)
        return cls(request, response)

    async def read(self) -> bytes:
        """See Pipe."""
        while not self._rest:
            message = await self._websocket.receive()
            if message.type is WSMsgType.TEXT:
                self.abort()
                raise ConnectionResetError("the client sent text")
            if message.type is WSMsgType.ERROR:
                raise ConnectionResetError("the connection broke") from message.data
            if message.type is not WSMsgType.BINARY:
                return b""
            self._rest = message.data
        piece, self._rest = self._rest[: outflow.PIECE_BYTES], self._rest[outflow.PIECE_BYTES :]
        return piece

    async def write(self, data: bytes) -> None:
        """See Pipe."""
        for start in range(0, len(data), outflow.PIECE_BYTES):
            piece = data[start : start + outflow.PIECE_BYTES]
            try:
                async with asyncio.timeout(outflow.PAUSE_SECONDS):
                    await self._websocket.send_bytes(piece)
            except TimeoutError as error:
                self.abort()
                raise ConnectionResetError("the client does not read") from error

    async def close(self) -> None:
        """See Pipe."""
        await self._websocket.close()

    def abort(self) -> None:
        """See Pipe."""
        if self._request.transport is not None:
            self._request.transport.abort()
