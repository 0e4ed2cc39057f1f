"""The node's end of a session: what comes from the master waits here, bounded by its window."""

from __future__ import annotations

import asyncio
from typing import Any

from protos import node_v1_pb2

Frame = node_v1_pb2.SessionFrame
STDIN, STDOUT, STDERR = 0, 1, 2
DATA = 0
"""The channel of sessions that have but one."""
TAKEN_AT_ONCE = 4
"""After so many frames with data the master is told that they are worked on: a quarter of what it
may send without."""


class Channels:
    """Frames to and from the master. Calls raise grpc.aio.AioRpcError when the session is over."""

    def __init__(self, call: Any) -> None:
        """`call` is the Session call of a stub."""
        self._call = call
        self._received: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._writing = asyncio.Lock()
        self._taken = 0
        self._has_data = False
        self._size: Frame | None = None
        """Among those that wait."""

    async def pump(self) -> None:
        """Take what the master sends, until it ends the session."""
        async for frame in self._call:
            if frame.end:
                break
            if frame.HasField("size"):
                self._sized(frame)
            else:
                self._received.put_nowait(frame)
        self._received.put_nowait(None)

    def _sized(self, frame: Frame) -> None:
        """The last size counts. Sizes are in no window: all of them would fill the memory."""
        if self._size is not None:
            self._size.CopyFrom(frame)
            return
        self._size = frame
        self._received.put_nowait(frame)

    async def receive(self) -> Frame | None:
        """The next frame; None at the end. The former one has been worked on."""
        if self._has_data:
            self._has_data = False
            await self._take()
        frame = await self._received.get()
        if frame is self._size:
            self._size = None
        self._has_data = frame is not None and bool(frame.data)
        return frame

    async def _take(self) -> None:
        self._taken += 1
        if self._taken >= TAKEN_AT_ONCE:
            taken, self._taken = self._taken, 0
            await self.write(Frame(taken=taken))

    async def send(self, data: bytes, channel: int = DATA) -> None:
        """Send data; waits until it is on its way."""
        await self.write(Frame(data=data, channel=channel))

    async def close(self, channel: int = DATA) -> None:
        """Nothing more comes on that channel."""
        await self.write(Frame(channel=channel, close=True))

    async def write(self, frame: Frame) -> None:
        """Send a frame; gRPC takes one at a time."""
        async with self._writing:
            await self._call.write(frame)
