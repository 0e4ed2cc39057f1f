"""One session: what a node sends waits in a bounded queue, what it is sent within its window."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from common.api import errors
from master.apiserver.registry.duplex import DATA, Piece
from protos import node_v1_pb2

Frame = node_v1_pb2.SessionFrame
QUEUE_MAX = 8
FRAME_MAX_BYTES = 128 << 10
"""Frames of a session that wait for its reader, and the size of one: a well-behaved node's are half
of it. With SESSIONS_MAX they bound what a node's unread sessions take."""
WINDOW = 16
"""Frames with data that the node has not worked on yet; protos/node_v1.proto has the number."""
SENT_MAX_BYTES = 64 << 10
CHANNELS = 3
IDLE_SECONDS = 4 * 3600.0
"""A conversation in which nobody says anything for so long is ended, as a kubelet does."""
ERROR_MAX_BYTES = 4 << 10
ERROR_CODES = frozenset(
    (400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 501, 502, 503, 504)
)
"""Of a Status that a node may end a session with; none says that the caller is not known."""


class Session:
    """The master's end of a session. Implements Duplex."""

    def __init__(self, token: str, node: str, *, endless: bool) -> None:
        """`endless` ones are ended when the master stops: they would not end by themselves."""
        self.id = token
        self.node = node
        self.endless = endless
        self.opened = asyncio.Event()
        self.exit_code = 0
        self._received: asyncio.Queue[Any] = asyncio.Queue(QUEUE_MAX)
        self._window = asyncio.Semaphore(WINDOW)
        self._in_window = WINDOW
        self._outgoing: deque[Frame] = deque()
        self._size: Frame | None = None
        self._closed_channels: set[int] = set()
        self._is_closed = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._heard = False
        """The caller has said something since the node was last waited for."""

    async def receive(self) -> Piece | None:
        """The next piece of what the node sends; None at the end. Raises StatusError."""
        frame = await self._next()
        if frame is None and self._stopping:
            raise errors.stopping()
        if frame is None:
            raise errors.unavailable(f"the stream from node {self.node} has ended")
        if len(frame.data) > FRAME_MAX_BYTES:
            raise self._protocol_error(f"a frame of {len(frame.data)} bytes")
        if not 0 <= frame.channel < CHANNELS:
            raise self._protocol_error(f"data of channel {frame.channel}")
        if not frame.end:
            return Piece(frame.channel, frame.data, frame.close)
        if frame.error:
            raise self._status_error(frame.error)
        self.exit_code = frame.exit_code
        return None

    async def _next(self) -> Any:
        """The node's next frame, or None; raises StatusError when nobody has said anything."""
        while True:
            self._heard = False
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    return await self._received.get()
            except TimeoutError:
                if not self._heard:
                    raise errors.timeout("nothing was said for four hours") from None

    async def send(self, data: bytes, channel: int = DATA) -> None:
        """Send data in frames, each when there is room for it in the node's window.

        What a client sends on a channel that it has closed is dropped.
        """
        if channel in self._closed_channels:
            return
        for start in range(0, len(data), SENT_MAX_BYTES):
            await self._window.acquire()
            self._heard = True
            self._in_window -= 1
            piece = data[start : start + SENT_MAX_BYTES]
            self._outgoing.append(Frame(data=piece, channel=channel))
            self._wake.set()

    def close(self, channel: int = DATA) -> None:
        """Nothing more is sent on that channel."""
        if channel not in self._closed_channels:
            self._closed_channels.add(channel)
            self._outgoing.append(Frame(channel=channel, close=True))
            self._wake.set()

    def resize(self, width: int, height: int) -> None:
        """The last size counts."""
        self._heard = True
        self._size = Frame(size=node_v1_pb2.TerminalSize(width=width, height=height))
        self._wake.set()

    def over(self) -> None:
        """Nobody reads the session any more."""
        self._is_closed = True
        self._wake.set()

    def stop(self) -> None:
        """The master stops."""
        self._stopping = True
        self._end()

    async def outgoing(self) -> AsyncIterator[Frame]:
        """What the node is to be sent, until nobody reads the session any more."""
        while not self._is_closed:
            self._wake.clear()
            if self._size is not None:
                size, self._size = self._size, None
                yield size
            while self._outgoing:
                yield self._outgoing.popleft()
            await self._wake.wait()

    async def pump(self, frames: AsyncIterator[Frame]) -> None:
        """Take a node's frames; a reader that is slow slows the node down."""
        try:
            async for frame in frames:
                self._released(frame.taken)
                if frame.data and frame.end:  # the last data may come with the end
                    await self._received.put(Frame(data=frame.data, channel=frame.channel))
                if frame.data or frame.close or frame.end:
                    await self._received.put(frame)
            await self._received.put(None)
        except BaseException:  # what nobody has read of a broken stream is lost; the end is told
            self._end()
            raise

    def _released(self, count: int) -> None:
        """The node has worked on so many frames; no more than it was sent."""
        for _ in range(min(max(count, 0), WINDOW - self._in_window)):
            self._in_window += 1
            self._window.release()

    def _end(self) -> None:
        """Let the reader know that nothing more comes; a frame may give way to that."""
        if self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(None)

    def _protocol_error(self, what: str) -> errors.StatusError:
        return errors.StatusError(502, "InternalError", f"node {self.node} has sent {what}")

    def _status_error(self, data: bytes) -> errors.StatusError:
        """The error that a node has sent as a Status; 502 for what is none."""
        try:
            status = msgspec.json.decode(data[:ERROR_MAX_BYTES], type=_Status)
        except (msgspec.DecodeError, ValueError) as error:
            return self._protocol_error(f"an error that is no Status: {error}")
        if status.code not in ERROR_CODES:
            return self._protocol_error(f"an error of code {status.code}")
        return errors.StatusError(status.code, status.reason[:64], status.message)


class _Status(msgspec.Struct):
    """The members of a Status that a node may choose."""

    code: int
    reason: str = ""
    message: str = ""
