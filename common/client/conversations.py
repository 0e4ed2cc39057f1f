"""Commands in containers, connections to pods, archives for nodes over gRPC: both sides may send at
any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Self

import grpc.aio

from common.client.grpcerrors import translated
from protos import cluster_v1_pb2 as pb
from protos.node_v1_pb2 import TerminalSize

STDOUT, STDERR = 1, 2
SENT_MAX_BYTES = 64 << 10


class _Conversation:
    """A call of two streams, which ends with the block that it is used in.

    Errors are StatusErrors; those of writes are told by the reading side, which knows why.
    """

    def __init__(self, method: Callable[[], Any], first: Any) -> None:
        self._method = method
        self._first = first
        self._call: Any = None
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._call = self._method()
        await self._write(self._first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def _write(self, request: Any) -> None:
        """Send a message; gRPC takes one at a time, and none once the call has ended."""
        async with self._writing:
            try:
                await self._call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                return  # it is the call that was cancelled, by the end of the block

    async def _replies(self) -> AsyncIterator[Any]:
        with translated():
            async for reply in self._call:
                yield reply


class RemoteCommand(_Conversation):
    """A process in a container.

    async with client.exec("default", "web", ["cat"], stdin=True) as command:
        await command.write(b"hello")
        await command.close_stdin()
        async for stream, data in command: ...
        command.exit_code
    """

    def __init__(self, method: Callable[[], Any], start: pb.CommandStart) -> None:
        super().__init__(method, pb.CommandRequest(start=start))
        self.exit_code = 0
        """Once all output has been read."""

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, what it has written), until it has ended. Raises StatusError."""
        async for reply in self._replies():
            if reply.stdout:
                yield STDOUT, reply.stdout
            if reply.stderr:
                yield STDERR, reply.stderr
            if reply.HasField("exit_code"):
                self.exit_code = reply.exit_code

    async def write(self, data: bytes) -> None:
        """Give it input; waits while it takes none."""
        for start in range(0, len(data), SENT_MAX_BYTES):
            await self._write(pb.CommandRequest(stdin=data[start : start + SENT_MAX_BYTES]))

    async def close_stdin(self) -> None:
        """It reads the end of its input."""
        await self._write(pb.CommandRequest(stdin_end=True))

    async def resize(self, width: int, height: int) -> None:
        """Its terminal has another size, in characters."""
        await self._write(pb.CommandRequest(size=TerminalSize(width=width, height=height)))


class PodConnection(_Conversation):
    """A connection to a port of a pod; iterate for what the pod sends, until its end."""

    def __init__(self, method: Callable[[], Any], start: pb.PortForwardStart) -> None:
        super().__init__(method, pb.PortForwardRequest(start=start))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What the pod sends. Raises StatusError."""
        async for reply in self._replies():
            yield reply.data

    async def write(self, data: bytes) -> None:
        """Send data; waits while the pod takes none."""
        for start in range(0, len(data), SENT_MAX_BYTES):
            await self._write(pb.PortForwardRequest(data=data[start : start + SENT_MAX_BYTES]))

    async def close(self) -> None:
        """The pod reads the end."""
        await self._write(pb.PortForwardRequest(data_end=True))


class ImagePush(_Conversation):
    """An archive of images on its way to a node."""

    def __init__(self, method: Callable[[], Any], start: pb.PushImageStart) -> None:
        super().__init__(method, pb.PushImageRequest(start=start))

    async def names(self, archive: AsyncIterator[bytes]) -> Sequence[str]:
        """Send all of it; the names of the images that the node has taken. Raises StatusError."""

        async def send() -> None:
            try:
                async for data in archive:
                    await self._write(pb.PushImageRequest(data=data))
                await self._call.done_writing()
            except Exception:  # of the archive: the node would wait for the rest of it
                self._call.cancel()
                raise

        replies = self._replies()
        await anext(replies)  # the node is ready
        sending = asyncio.create_task(send())
        try:
            return [name async for reply in replies for name in reply.names]
        finally:
            sending.cancel()
            [ended] = await asyncio.gather(sending, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended
