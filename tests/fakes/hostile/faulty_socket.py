"""A unix socket in front of another one that can answer wrongly, late or not at all."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Literal

Mode = Literal["pass", "refuse", "slow", "gone"]
_ANSWER = b'{"message":"broken on purpose"}'
_REFUSAL = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_ANSWER), _ANSWER)
)


class FaultySocket:
    """Passes HTTP on to `upstream`, until told otherwise. A change cuts what is under way.

    It accepts by itself: an asyncio.Server that is closed forgets connections which it has just
    accepted, and their callers would wait for as long as they can.
    """

    def __init__(self, path: str, upstream: str) -> None:
        self.path = path
        self._upstream = upstream
        self._mode: Mode = "pass"
        self._delay_seconds = 0.0
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.calls = 0
        """Connections taken in the present mode."""

    async def set(self, mode: Mode, delay_seconds: float = 0.0) -> None:
        """Behave so from now on; `delay_seconds` is how late a slow one answers."""
        await self.close()
        self._mode, self._delay_seconds, self.calls = mode, delay_seconds, 0
        if mode != "gone":
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.path)
            self._listener.listen()
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """No longer listen; connections are cut."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        tasks = list(self._tasks)
        await asyncio.sleep(0)  # a task that has not begun could not close its connection
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        Path(self.path).unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        task = asyncio.ensure_future(self._connected(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.calls += 1

    async def _connected(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "refuse":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_REFUSAL)
            await writer.drain()
            return
        await asyncio.sleep(self._delay_seconds)
        far_reader, far_writer = await asyncio.open_unix_connection(self._upstream)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            far_writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
