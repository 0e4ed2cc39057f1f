"""The standard streams of a process, on a connection that Podman has given up to them.

Without a terminal, what comes is in frames: a byte that names the stream, three of zero, a length
in four, and the data. What goes is raw, and so is everything of a terminal.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable

from common.runtime.reasons import reason
from node.runtime.base import STDERR, STDOUT, RuntimeUnavailable

READ_BYTES = 64 << 10
_HEADER = struct.Struct(">BxxxI")
Piece = tuple[int, bytes]


class Frames:
    """Takes frames apart; pieces of one stream that come together are one piece. Pure."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._channel = STDOUT
        self._left = 0
        """Of the frame that has begun."""

    def feed(self, data: bytes) -> list[Piece]:
        """What the next bytes bring: (stream, data), none of it empty."""
        self._buffer += data
        pieces: list[tuple[int, bytearray]] = []
        while True:
            if not self._left:
                if len(self._buffer) < _HEADER.size:
                    break
                self._channel, self._left = _HEADER.unpack_from(self._buffer)
                del self._buffer[: _HEADER.size]
                continue
            if not self._buffer:
                break
            part = self._buffer[: self._left]
            del self._buffer[: self._left]
            self._left -= len(part)
            channel = STDERR if self._channel == STDERR else STDOUT
            if pieces and pieces[-1][0] == channel:
                pieces[-1][1].extend(part)
            else:
                pieces.append((channel, part))
        return [(channel, bytes(part)) for channel, part in pieces]


class PodmanStreams:
    """The Streams protocol on one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        terminal: bool,
        resize: Callable[[int, int], Awaitable[None]],
        exit_code: Callable[[], Awaitable[int]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = None if terminal else Frames()
        self._pieces: deque[Piece] = deque()
        self._resize = resize
        self._exit_code = exit_code
        self.has_ended = False
        """The process is known to have."""

    async def read(self) -> Piece:
        """What comes next."""
        while not self._pieces:
            try:
                data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise RuntimeUnavailable(f"Podman ended a stream: {reason(error)}") from error
            if not data or self._frames is None:
                return STDOUT, data
            self._pieces.extend(self._frames.feed(data))
        return self._pieces.popleft()

    async def write(self, data: bytes) -> None:
        """Input; a process that has ended reads none."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return  # that it has ended, the reader learns

    async def close_stdin(self) -> None:
        """Close that half of the connection."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def resize(self, width: int, height: int) -> None:
        """Of the terminal."""
        await self._resize(width, height)

    async def exit_code(self) -> int:
        """Of the command."""
        code = await self._exit_code()
        self.has_ended = True
        return code
