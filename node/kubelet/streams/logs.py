"""Reads container logs in CRI's format: whole, the last lines, or followed (kubectl logs -f).

A line of the file is `TIME STREAM TAG TEXT`; tag P marks a part of a longer line. When the file is
full, the runtime puts a new one in its place; a follower reads the old one to its end first.
Source: k8s.io/kubernetes pkg/kubelet/kuberuntime/logs.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.api import times
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from node.files.regular import open_regular

CHUNK_BYTES = 64 << 10
POLL_SECONDS = 0.1


class LogQuery(NamedTuple):
    """Which lines: from the end (-1: all), since a moment (ms since 1970), how many bytes."""

    follow: bool
    timestamps: bool
    tail_lines: int
    since_ms: int
    limit_bytes: int


class Reader:
    """Reads one log piece by piece; remembers where it is."""

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._descriptor = open_regular(path)
        self._query = query
        self._rest = b""
        self._within_line = False
        self._left = query.limit_bytes or -1
        if query.tail_lines >= 0:
            os.lseek(self._descriptor, self._tail_offset(query.tail_lines), os.SEEK_SET)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def finished(self) -> bool:
        """Whether the limit of bytes has been reached."""
        return self._left == 0

    def read(self) -> bytes:
        """The next lines as the user sees them; empty when there are none yet."""
        while True:
            # Looked up before reading: nothing more is written to this file once there is another.
            replaced = self._query.follow and self._is_replaced()
            if shown := self._read_file():
                return shown
            if not (replaced and self._open_next()):
                return b""

    def _read_file(self) -> bytes:
        """The next lines of the file that is open; empty at its end."""
        if os.fstat(self._descriptor).st_size < os.lseek(self._descriptor, 0, os.SEEK_CUR):
            self._begin()  # it was truncated
        while data := os.read(self._descriptor, CHUNK_BYTES):
            whole, mark, rest = data.rpartition(b"\n")
            if not mark:
                self._rest += rest
                continue
            lines = (self._rest + whole).split(b"\n")
            self._rest = rest
            if shown := self._limited(b"".join(self._shown(line) for line in lines)):
                return shown
        return b""

    def _is_replaced(self) -> bool:
        """Whether another file is in the place of the open one; without any, that is read on."""
        try:
            info = self._path.lstat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(info, os.fstat(self._descriptor))

    def _open_next(self) -> bool:
        """Go on with the file that is in the place of the open one; False when it is gone."""
        try:
            descriptor = open_regular(self._path)
        except FileNotFoundError:
            return False
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._begin()
        return True

    def _begin(self) -> None:
        """Read the file from its beginning; a line that was not complete is dropped."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._rest = b""

    def _limited(self, shown: bytes) -> bytes:
        if self._left >= 0:
            shown = shown[: self._left]
            self._left -= len(shown)
        return shown

    def _shown(self, line: bytes) -> bytes:
        """One line of the file as the user sees it; parts of a line are joined."""
        parts = line.split(b" ", 3)
        if len(parts) < 3:
            return b""
        stamp = parts[0]
        text = parts[3] if len(parts) > 3 else b""
        if self._query.since_ms and not self._is_since(stamp):
            return b""
        if self._query.timestamps and not self._within_line:
            text = _with_z(stamp) + b" " + text
        self._within_line = _is_part(line)
        return text if self._within_line else text + b"\n"

    def _is_since(self, stamp: bytes) -> bool:
        try:
            moment = times.parse(stamp.decode("ascii", "replace"))
        except times.InvalidTime:
            return True
        return moment.timestamp() * 1000 >= self._query.since_ms

    def _tail_offset(self, lines: int) -> int:
        """Where the last `lines` lines begin, with all of their parts.

        The last line counts even if the container has not ended it yet.
        """
        start = end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if lines == 0:
            return start
        for offset, line in self._lines_from_end(start):
            if start == end or not _is_part(line):
                lines -= 1
                if lines < 0:
                    return start
            start = offset
        return start

    def _lines_from_end(self, position: int) -> Iterator[tuple[int, bytes]]:
        """(offset, text) of every line that ends in a line break, the last one first."""
        rest, unfinished = b"", True
        while position > 0:
            start = max(0, position - CHUNK_BYTES)
            block = os.pread(self._descriptor, position - start, start) + rest
            rest, *lines = block.split(b"\n")
            offset = start + len(block)
            for line in reversed(lines):
                offset -= len(line)
                if not unfinished:
                    yield offset, line
                unfinished = False
                offset -= 1
            position = start
        if not unfinished:
            yield 0, rest


def last_text(path: Path, lines: int, bytes_max: int) -> str:
    """The end of what a container has written: at most so many lines, and so many bytes of them.

    Raises OSError.
    """
    query = LogQuery(follow=False, timestamps=False, tail_lines=lines, since_ms=0, limit_bytes=0)
    reader, text = Reader(path, query), b""
    try:
        while piece := reader.read():
            text = (text + piece)[-bytes_max:]
    finally:
        reader.close()
    return text.decode("utf-8", "replace")


def _is_part(line: bytes) -> bool:
    """Whether the line of the file is a part of a longer one, and not its end."""
    parts = line.split(b" ", 3)
    return len(parts) > 2 and parts[2].startswith(b"P")


def _with_z(stamp: bytes) -> bytes:
    """Podman writes +00:00 where Kubernetes writes Z."""
    return stamp[:-6] + b"Z" if stamp.endswith(b"+00:00") else stamp


async def stream(
    path: Path,
    query: LogQuery,
    *,
    running: Callable[[], bool],
    clock: Clock,
    offload: Offload,
) -> AsyncGenerator[bytes, None]:
    """The pieces of a log. With follow, until the container has ended and all was read."""
    reader = await offload(Reader, path, query)
    try:
        while not reader.finished:
            was_running = running()
            piece = await offload(reader.read)
            if piece:
                yield piece
            elif not query.follow or not was_running:
                return
            else:
                await clock.sleep(POLL_SECONDS)
    finally:
        reader.close()
