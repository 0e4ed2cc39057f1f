"""Sessions: streams that the master asks for; the node opens them and sends what was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing, suppress
from typing import Any

import grpc

from common.api import errors
from common.api.codec import json as codec
from protos import node_v1_pb2

log = logging.getLogger(__name__)
Frame = node_v1_pb2.SessionFrame
Logs = Callable[[node_v1_pb2.LogRequest], AsyncGenerator[bytes, None]]
"""The bytes of a log; raises StatusError when there is none."""


class Sessions:
    """Serves the sessions of a node."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._running: set[asyncio.Task[None]] = set()

    def open(self, request: node_v1_pb2.OpenSession, using: AbstractContextManager[Any]) -> None:
        """Begin a session in the background; `using` enters with a stub to open it by."""
        task = asyncio.create_task(self._serve(using, request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(
        self, using: AbstractContextManager[Any], request: node_v1_pb2.OpenSession
    ) -> None:
        with using as stub:
            await self._answer(stub, request)

    async def _answer(self, stub: Any, request: node_v1_pb2.OpenSession) -> None:
        """Send until the master has everything or wants no more; what is sent ends with the call.

        gRPC itself would go on asking an iterator of requests after the call has ended.
        """
        call = stub.Session()
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(call, request))
                async for frame in call:
                    if frame.end:
                        break
                sending.cancel()
        except* grpc.aio.AioRpcError as found:
            [error] = found.exceptions
            assert isinstance(error, grpc.aio.AioRpcError)
            log.info("session ended", extra={"object": request.id[:6], "error": error.details()})
        finally:
            call.cancel()

    async def _send(self, call: Any, request: node_v1_pb2.OpenSession) -> None:
        """Send every frame, or as many as the call takes: whoever reads it learns of its end."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with aclosing(self._frames(request)) as frames:
                async for frame in frames:
                    await call.write(frame)
            await call.done_writing()

    async def _frames(self, request: node_v1_pb2.OpenSession) -> AsyncGenerator[Frame, None]:
        """The id, the data, and the end."""
        yield Frame(id=request.id)
        stream = self._logs(request.log)
        try:
            async for data in stream:
                yield Frame(data=data)
            yield Frame(end=True)
        except errors.StatusError as error:
            yield Frame(end=True, error=codec.encode(error.status()))
        finally:
            await stream.aclose()
