"""The streams of a SPDY connection, for tasks that read and write them.

    async with serve(pipe) as connection:
        async for stream in connection:
            ...

Three tasks stand behind a connection: one reads the pipe and hands out what comes, one sends, one
pings. All end with it. SPDY as kubectl speaks it has no windows: when the readers of the streams
leave too much unread, the connection is not read on, and one slow reader holds up all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import spdy
from master.apiserver.rest.upgrades.pipes import Pipe
from master.apiserver.rest.upgrades.spdy import ProtocolError

UNREAD_MAX_BYTES = 256 << 10
"""Of all streams of a connection together."""
UNACCEPTED_MAX = 16
"""Streams that are open, and that nobody has asked for yet."""
UNSENT_MAX_BYTES = 64 << 10
"""Of data that streams have written; answers that the protocol demands may add as much."""


class Stream:
    """One stream, opened by the client: read by one task, written by any."""

    def __init__(self, connection: Connection, stream_id: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        """Names are in lower case."""
        self._connection = connection
        self._id = stream_id
        self._unread = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._broken = ""
        self._ignored = False

    async def read(self) -> bytes:
        """All bytes that have come, or b"" once the client has closed its side.

        Raises ConnectionResetError when the stream was reset, or the connection ended before it.
        """
        while not self._unread:
            if self._ended:
                return b""
            if self._broken:
                raise ConnectionResetError(self._broken)
            self._news.clear()
            await self._news.wait()
        return self._take()

    def _take(self) -> bytes:
        data = bytes(self._unread)
        self._unread.clear()
        self._connection._was_read(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send, frame by frame in turn with other streams; returns when the last may wait unsent.

        Raises ConnectionResetError when the client takes nothing more, or `close` was called.
        """
        view = memoryview(data)
        for start in range(0, len(view), spdy.FRAME_DATA_MAX_BYTES):
            await self._connection._send_data(
                self._id, view[start : start + spdy.FRAME_DATA_MAX_BYTES]
            )

    def close(self) -> None:
        """Nothing more is written: the client reads to the end. May be called again."""
        self._connection._end_stream(self._id)

    def ignore(self) -> None:
        """Nobody reads any more: what has come and still comes is dropped, and holds up no other
        stream of the connection."""
        self._ignored = True
        self._take()

    def reset(self) -> None:
        """Nothing more is read or written. May be called at any time."""
        self._connection._reset_stream(self._id)
        self._was_reset("the stream was reset")

    # --- Of the connection

    def _came(self, data: bytes) -> None:
        self._unread += data
        if self._ignored:
            self._take()
        self._news.set()

    def _client_ended(self) -> None:
        self._ended = True
        self._news.set()

    def _lost(self, why: str) -> None:
        """Nothing more comes; what is unread can still be read."""
        self._broken = self._broken or why
        self._news.set()

    def _was_reset(self, why: str) -> None:
        """What is unread is of no use to anybody."""
        self._take()
        self._lost(why)


class Connection:
    """The streams of one connection, as the client opens them; see `serve`."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._spdy = spdy.Connection()
        self._streams: dict[int, Stream] = {}
        self._opened: deque[Stream] = deque()
        self._opened_news = asyncio.Event()
        self._unread = 0
        self._room = asyncio.Event()
        """Something has become less: the reader may go on."""
        self._unsent = bytearray()
        self._unsent_news = asyncio.Event()
        self._writers = asyncio.Lock()
        self._sent_news = asyncio.Event()
        self._why = ""
        """Why the connection is over, if it is."""

    def __aiter__(self) -> Connection:
        return self

    async def __anext__(self) -> Stream:
        """The next stream that the client has opened; no more once the connection is over."""
        while not self._opened:
            if self._why:
                raise StopAsyncIteration
            self._opened_news.clear()
            await self._opened_news.wait()
        stream = self._opened.popleft()
        self._room.set()
        return stream

    # --- Of streams

    def _was_read(self, count: int) -> None:
        self._unread -= count
        self._room.set()

    async def _send_data(self, stream_id: int, data: memoryview) -> None:
        async with self._writers:
            while len(self._unsent) >= UNSENT_MAX_BYTES and not self._why:
                self._sent_news.clear()
                await self._sent_news.wait()
            if self._why or not self._spdy.writable(stream_id):
                raise ConnectionResetError(self._why or "the stream is closed")
            self._send(self._spdy.data(stream_id, data))

    def _end_stream(self, stream_id: int) -> None:
        if not self._why and self._spdy.writable(stream_id):
            self._send(self._spdy.data(stream_id, b"", fin=True))

    def _reset_stream(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        if not self._why:
            self._send(self._spdy.reset(stream_id))

    def _send(self, data: bytes) -> None:
        self._unsent += data
        self._unsent_news.set()

    # --- The tasks

    async def _read_all(self) -> None:
        """Hand out what comes, until the client goes or breaks the rules."""
        status, why = spdy.GOAWAY_OK, "the client has gone"
        try:
            while data := await self._pipe.read():
                for event in self._spdy.receive(data):
                    if self._why or isinstance(event, spdy.GoneAway):
                        return
                    self._handle(event)
                    await self._room_for_more()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        except ProtocolError as error:
            status, why = spdy.GOAWAY_PROTOCOL_ERROR, str(error)
        finally:
            self._end(why, status)

    async def _room_for_more(self) -> None:
        while not self._why and (
            self._unread >= UNREAD_MAX_BYTES
            or len(self._opened) >= UNACCEPTED_MAX
            or len(self._unsent) >= 2 * UNSENT_MAX_BYTES
        ):
            self._room.clear()
            await self._room.wait()

    def _handle(self, event: spdy.Event) -> None:
        match event:
            case spdy.StreamOpened(stream_id, headers):
                stream = Stream(self, stream_id, headers)
                self._streams[stream_id] = stream
                self._opened.append(stream)
                self._opened_news.set()
                self._send(self._spdy.reply(stream_id))
            case spdy.DataReceived(stream_id, data):
                self._unread += len(data)
                self._streams[stream_id]._came(data)
            case spdy.StreamEnded(stream_id):
                self._streams.pop(stream_id)._client_ended()
            case spdy.StreamReset(stream_id):
                if (gone := self._streams.pop(stream_id, None)) is not None:
                    gone._was_reset("the client has reset the stream")
            case spdy.AnswerDue(data):
                self._send(data)

    async def _write_all(self) -> None:
        """Send what is due, until the connection is over and everything is sent."""
        try:
            while self._unsent or not self._why:
                if not self._unsent:
                    self._unsent_news.clear()
                    await self._unsent_news.wait()
                    continue
                batch = bytes(self._unsent)
                self._unsent.clear()
                self._sent_news.set()
                self._room.set()
                await self._pipe.write(batch)
        except ConnectionError:
            self._pipe.abort()  # so that the reader ends as well
        finally:
            self._end("the client has gone")

    async def _ping(self) -> None:
        while not self._why:
            await asyncio.sleep(outflow.PING_SECONDS)
            self._send(self._spdy.ping())

    def _end(self, why: str, status: int = spdy.GOAWAY_OK) -> None:
        """No stream goes on; what is unsent still goes out, and why it ends."""
        if self._why:
            return
        self._send(self._spdy.goaway(status))
        self._why = why
        for stream in self._streams.values():
            stream._lost(why)
        self._streams.clear()
        for news in (self._opened_news, self._room, self._unsent_news, self._sent_news):
            news.set()


@asynccontextmanager
async def serve(pipe: Pipe) -> AsyncIterator[Connection]:
    """A connection over a pipe, which is closed in the end.

    The client is told, and has `outflow.PAUSE_SECONDS` to take what is unsent and to close: people
    read what a command has said, perhaps in a pager.
    """
    connection = Connection(pipe)
    reader = asyncio.create_task(connection._read_all())
    writer = asyncio.create_task(connection._write_all())
    pinging = asyncio.create_task(connection._ping())
    try:
        yield connection
    finally:
        connection._end("the connection was closed")
        pinging.cancel()
        reader.cancel()
        try:
            async with asyncio.timeout(outflow.PAUSE_SECONDS):
                await asyncio.wait((reader, writer))
                await pipe.close()
        except (TimeoutError, ConnectionError):
            pass  # the client has had its time, or has gone
        finally:
            pipe.abort()
            writer.cancel()
            await asyncio.wait((reader, writer, pinging))
            for task in (reader, writer):
                if not task.cancelled():
                    task.result()  # raises what is a mistake of ours
