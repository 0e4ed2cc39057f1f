"""Sessions: streams that the master asks for; the node opens them and serves what was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import grpc

from common.api import errors
from common.api.codec import json as codec
from node.session.channels import Channels, Frame
from protos import node_v1_pb2

log = logging.getLogger(__name__)
Server = Callable[[Any, Channels], Awaitable[int]]
"""Serves a request until it is through; answers the exit code of a command, 0 for anything else.

Raises StatusError. It is cancelled when the master ends the session.
"""


class Sessions:
    """Serves the sessions of a node."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        """`servers` are by the names that requests have in OpenSession."""
        self._servers = servers
        self._running: set[asyncio.Task[None]] = set()

    def open(self, request: node_v1_pb2.OpenSession, using: AbstractContextManager[Any]) -> None:
        """Begin a session in the background; `using` enters with a stub to open it by."""
        task = asyncio.create_task(self._hold(using, request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _hold(
        self, using: AbstractContextManager[Any], request: node_v1_pb2.OpenSession
    ) -> None:
        with using as stub:
            await self._answer(stub, request)

    async def _answer(self, stub: Any, request: node_v1_pb2.OpenSession) -> None:
        """Serve until the master has everything or wants no more; what is served ends with the
        call.

        gRPC itself would go on asking an iterator of requests after the call has ended.
        """
        call = stub.Session()
        channels = Channels(call)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self._serve(call, channels, request))
                await channels.pump()
                serving.cancel()
        except* grpc.aio.AioRpcError as found:
            [error] = found.exceptions
            assert isinstance(error, grpc.aio.AioRpcError)
            log.info("session ended", extra={"object": request.id[:6], "error": error.details()})
        finally:
            call.cancel()

    async def _serve(self, call: Any, channels: Channels, request: node_v1_pb2.OpenSession) -> None:
        """Everything that the call takes: whoever reads it learns of its end."""
        try:
            await channels.write(Frame(id=request.id))
            await channels.write(await self._outcome(channels, request))
            await call.done_writing()
        except* (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # also where a server's own tasks have met it

    async def _outcome(self, channels: Channels, request: node_v1_pb2.OpenSession) -> Frame:
        """Serve what is asked; the frame that tells how it has ended."""
        kind = request.WhichOneof("request")
        try:
            server = self._servers.get(kind or "")
            if server is None:
                raise errors.StatusError(501, "NotImplemented", "this node is too old for that")
            code = await server(getattr(request, str(kind)), channels)
            return Frame(end=True, exit_code=code)
        except errors.StatusError as error:
            return Frame(end=True, error=codec.encode(error.status()))
