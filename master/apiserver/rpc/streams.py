"""Conversations of the Cluster service: commands in containers, connections to ports of pods,
images for nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.registry.duplex import (
    STDERR,
    STDIN,
    ArchiveHandler,
    Command,
    CommandHandler,
    Dial,
    Duplex,
    Load,
    PortHandler,
)
from master.apiserver.registry.registry import Registry
from master.apiserver.request.audit import Caller
from master.apiserver.request.target import Target
from master.apiserver.rpc.access import Access
from protos import cluster_v1_pb2 as pb

Requests = AsyncIterator[Any]
"""Messages of a caller, the first of which says what is asked for."""
NAMES_MAX_BYTES = 1 << 20


class Streams:
    """Answers them; callers translate the StatusErrors that are raised."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access

    async def command(
        self, subresource: str, requests: Requests, context: Any
    ) -> AsyncGenerator[pb.CommandReply, None]:
        """What a process writes, and at last its exit code; raises StatusError."""
        caller = self._access.caller(context)
        start = await _start(requests)
        async with self._handler(caller, start, subresource) as (handler, target):
            assert isinstance(handler, CommandHandler)
            command: Command = await handler.command(target, _query(start))
            async with command.run() as duplex, _listening(requests, duplex, _input):
                while (piece := await duplex.receive()) is not None:
                    if piece.channel == STDERR:
                        yield pb.CommandReply(stderr=piece.data)
                    elif piece.data:
                        yield pb.CommandReply(stdout=piece.data)
                yield pb.CommandReply(exit_code=duplex.exit_code)

    async def port(
        self, requests: Requests, context: Any
    ) -> AsyncGenerator[pb.PortForwardReply, None]:
        """What a pod sends on a connection; raises StatusError."""
        caller = self._access.caller(context)
        start = await _start(requests)
        async with self._handler(caller, start, "portforward") as (handler, target):
            assert isinstance(handler, PortHandler)
            dial: Dial = await handler.dial(target)
            async with dial(start.port) as duplex, _listening(requests, duplex, _data):
                while (piece := await duplex.receive()) is not None:
                    if piece.data:
                        yield pb.PortForwardReply(data=piece.data)
                    if piece.closed:
                        return

    async def push(
        self, requests: Requests, context: Any
    ) -> AsyncGenerator[pb.PushImageReply, None]:
        """That the node is ready, and then what images it has taken; raises StatusError."""
        caller = self._access.caller(context)
        start = await _start(requests)
        nodes = self._registry.scheme.require("", "v1", "nodes")
        target = Target(nodes, "", start.node, "images")
        async with self._access.call(caller, "create", target, is_stream=True):
            handler = self._registry.handler(target)
            assert isinstance(handler, ArchiveHandler)
            load: Load = await handler.archive(target)
            try:
                opened = load(start.size_bytes)
                async with opened as node, _listening(_to_the_end(requests), node, _archive):
                    yield pb.PushImageReply()
                    yield pb.PushImageReply(names=await _names(node))
            except StatusError:
                # A caller who still writes would be told of a broken stream, and not why it ended.
                async for _ in requests:
                    pass
                raise

    @asynccontextmanager
    async def _handler(
        self, caller: Caller, start: Any, subresource: str
    ) -> AsyncIterator[tuple[Any, Target]]:
        """Who answers for a subresource of a pod, once the caller may have it."""
        pods = self._registry.scheme.require("", "v1", "pods")
        target = Target(pods, start.namespace, start.pod, subresource)
        async with self._access.call(caller, "create", target, is_stream=True):
            yield self._registry.handler(target), target


async def _start(requests: Requests) -> Any:
    """What the first message asks for; raises StatusError 400."""
    first = await anext(requests, None)
    if first is None or not first.HasField("start"):
        raise errors.bad_request("the first message says nothing of what is to be started")
    start = first.start
    if isinstance(start, pb.PushImageStart):
        if not start.node or start.size_bytes <= 0:
            raise errors.bad_request("the request names no node, or an archive without a size")
    elif not (start.namespace and start.pod):
        raise errors.bad_request("the request names no pod")
    return start


def _query(start: pb.CommandStart) -> dict[str, list[str]]:
    """The options of a command in the names and words of REST, which checks them."""
    wanted = {"stdin": start.stdin, "stdout": True, "stderr": True, "tty": start.terminal}
    query = {name: ["true" if value else "false"] for name, value in wanted.items()}
    return {**query, "container": [start.container], "command": list(start.command)}


@asynccontextmanager
async def _listening(
    requests: Requests, duplex: Duplex, take: Callable[[Any, Duplex], Awaitable[None]]
) -> AsyncIterator[None]:
    """What the caller sends is passed on until the end of the block."""

    async def listen() -> None:
        async for request in requests:
            await take(request, duplex)

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _input(request: pb.CommandRequest, duplex: Duplex) -> None:
    if request.HasField("size"):
        duplex.resize(request.size.width, request.size.height)
    await duplex.send(request.stdin, STDIN)
    if request.stdin_end:
        duplex.close(STDIN)


async def _data(request: pb.PortForwardRequest, duplex: Duplex) -> None:
    await duplex.send(request.data)
    if request.data_end:
        duplex.close()


async def _to_the_end(requests: Requests) -> Requests:
    """The messages of a caller, and None when no more come."""
    async for request in requests:
        yield request
    yield None


async def _archive(request: pb.PushImageRequest | None, duplex: Duplex) -> None:
    if request is None:
        duplex.close()
    else:
        await duplex.send(request.data)


async def _names(node: Duplex) -> list[str]:
    """What a node has sent back at the end; raises StatusError."""
    told = b""
    while (piece := await node.receive()) is not None and len(told) < NAMES_MAX_BYTES:
        told += piece.data
    try:
        return msgspec.json.decode(told, type=list[str])
    except msgspec.DecodeError as error:
        raise errors.internal("the node has answered with no list of names") from error
