"""A client of gRPC that begins many calls and ends none: each has all of its message but a byte.

HTTP/2 by hand, because a client library would send whole messages.
Source: RFC 9113, RFC 7541 (literal fields only), https://grpc.github.io/grpc/core (PROTOCOL-HTTP2).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from typing import Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
FRAME_MAX = 16384


class UnendingCalls:
    """Calls of a method on one connection; a context manager that begins them and hangs up."""

    def __init__(
        self,
        port: int,
        method: str,
        *,
        calls: int,
        message_bytes: int,
        context: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        """`context` has a client certificate, if there is to be one."""
        self._address = address
        self._port = port
        self._context = context or anybody()
        self._method = method
        self._left = {2 * number + 1: message_bytes - 1 for number in range(calls)}
        """What is still to be sent of each stream's message."""
        self._length = message_bytes
        self._initial = 65535
        self._windows = {0: 65535}
        self.sent_bytes = 0
        self.refused: set[int] = set()
        """Streams that the server has ended."""

    async def __aenter__(self) -> Self:
        """Connect, begin all calls, and go on with them in the background."""
        self._context.set_alpn_protocols(["h2"])
        self._reader, self._writer = await asyncio.open_connection(
            self._address, self._port, ssl=self._context, server_hostname="wherry"
        )
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._frame(SETTINGS, 0, 0, b"")
        for stream in self._left:
            self._windows[stream] = self._initial
            self._frame(HEADERS, END_HEADERS, stream, _head(self._method))
            self._data(stream, b"\0" + struct.pack(">I", self._length))
        self._going_on = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Hang up."""
        self._going_on.cancel()
        await asyncio.gather(self._going_on, return_exceptions=True)
        self._writer.transport.abort()

    async def _go_on(self) -> None:
        """Send as much as the server takes, stream by stream, until the connection is over."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                for stream in [s for s, left in self._left.items() if left]:
                    room = min(self._windows[stream], self._windows[0], FRAME_MAX)
                    if room > 0:
                        size = min(room, self._left[stream])
                        self._left[stream] -= size
                        self.sent_bytes += size
                        self._data(stream, b"x" * size)
                        await self._writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._hear()

    async def _hear(self) -> None:
        """Take one frame of the server's."""
        head = await self._reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream = int.from_bytes(head[5:], "big")
        body = await self._reader.readexactly(length)
        if kind == SETTINGS and not flags & ACK:
            for start in range(0, length, 6):
                name, value = struct.unpack_from(">HI", body, start)
                if name == INITIAL_WINDOW_SIZE:
                    for number in self._left:
                        self._windows[number] += value - self._initial
                    self._initial = value
            self._frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._frame(PING, ACK, 0, body)
        elif kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(body, "big")
        elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
            self._left.pop(stream, None)
            self.refused.add(stream)

    def _data(self, stream: int, data: bytes) -> None:
        self._windows[stream] -= len(data)
        self._windows[0] -= len(data)
        self._frame(DATA, 0, stream, data)

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        head = len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self._writer.write(head + body)


def anybody() -> ssl.SSLContext:
    """TLS of a stranger, who does not care whom it speaks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _head(method: str) -> bytes:
    """The header block of a call without credentials."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    found = b""
    for name, value in fields.items():
        found += bytes((0, len(name))) + name.encode() + bytes((len(value),)) + value.encode()
    return found
