"""Watches over gRPC: what nobody reads is counted, and there is not too much of it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from common.api.codec import json as codec
from common.api.types.core_v1 import ConfigMap
from common.limits.unread import STALLED_SECONDS, Unread
from common.runtime.clock import SystemClock
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.rpc.access import Access
from master.apiserver.rpc.calllimits import CallLimiter
from master.apiserver.rpc.cluster import ClusterService
from master.storage.keys import registry_key
from master.storage.subscription import TooSlow
from protos import cluster_v1_pb2 as pb
from protos import cluster_v1_pb2_grpc
from tests.fakes import registry as fakes
from tests.fakes.chain import TOKEN, chain
from tests.fakes.clock import FakeClock
from tests.unit.apiserver.rpc.test_refusals import Context, Refused

NOBODY: Any = SimpleNamespace()
SIZE_BYTES = 10_000
LIMIT_BYTES = 10 * SIZE_BYTES
KEY = registry_key("configmaps", "c", "n")


class Caller(Context):
    """An administrator who reads while `reads` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Event()
        self.begun = asyncio.Event()
        self.told: list[int] = []

    def invocation_metadata(self) -> Any:
        """A token."""
        return (("authorization", f"Bearer {TOKEN}"),)

    async def send_initial_metadata(self, metadata: Any) -> None:
        """The watch has begun."""
        self.begun.set()

    async def write(self, event: pb.WatchEvent) -> None:
        """Wait until the caller reads."""
        await self.reads.wait()
        self.told.append(int(json.loads(event.object)["metadata"]["resourceVersion"]))


class Watch:
    """A watch of ConfigMaps, and what is unread."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.clock = FakeClock()
        self.pipeline, self.caller = pipeline, Caller()
        self.unread = Unread(LIMIT_BYTES, self.clock)
        service = ClusterService(
            fakes.registry(pipeline),
            Access(chain()),
            NOBODY,
            unread=self.unread,
            clock=self.clock,
        )
        asked = pb.WatchRequest(resource=pb.ResourceName(plural="configmaps"), namespace="n")
        self.answering = asyncio.create_task(service.Watch(asked, self.caller))

    async def change(self, count: int) -> None:
        """Change the object so often, and let the cache tell of it."""
        data = codec.encode(ConfigMap(data={"k": "x" * SIZE_BYTES}))
        for _ in range(count):
            found, _ = await self.pipeline.store.get(KEY)
            if found is None:
                revision = await self.pipeline.store.create(KEY, data)
            else:
                known = found.revision
                revision = await self.pipeline.store.update(KEY, data, expected_revision=known)
            await self.pipeline.cache.wait_for(revision, 5.0)


async def test_what_is_unread_is_counted_until_it_is_read(pipeline: Pipeline) -> None:
    watch = Watch(pipeline)
    await watch.caller.begun.wait()
    await watch.change(5)
    assert 5 * SIZE_BYTES <= watch.unread.used_bytes < 6 * SIZE_BYTES
    watch.caller.reads.set()
    await watch.change(1)
    while len(watch.caller.told) < 6:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert watch.caller.told == sorted(set(watch.caller.told))
    assert watch.unread.used_bytes == 0
    watch.answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch.answering
    assert watch.unread.used_bytes == 0


async def test_who_reads_nothing_is_ended_when_there_is_too_much(pipeline: Pipeline) -> None:
    watch = Watch(pipeline)
    await watch.caller.begun.wait()
    await watch.change(5)
    await watch.clock.advance(STALLED_SECONDS)
    other = watch.unread.hold("other", lambda: None)
    other.add([b"x" * LIMIT_BYTES])
    with pytest.raises(Refused, match="the watch is not read"):
        await watch.answering
    assert watch.caller.happened == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert watch.unread.used_bytes == LIMIT_BYTES


async def test_what_a_slow_watch_has_missed_is_not_held_for_it(pipeline: Pipeline) -> None:
    watch = Watch(pipeline)
    await watch.caller.begun.wait()
    await watch.change(3)
    for resource in pipeline.cache._resources.values():
        for subscription in tuple(resource.subscriptions):
            subscription.end(TooSlow("2 events are unread"))
    assert watch.unread.used_bytes < 2 * SIZE_BYTES
    watch.caller.reads.set()
    with pytest.raises(Refused, match="too old resource version"):
        await watch.answering
    assert len(watch.caller.told) == 1
    assert watch.unread.used_bytes == 0


async def test_a_call_that_gRPC_holds_up_is_ended_too(pipeline: Pipeline) -> None:
    """What is larger than its window waits within gRPC until the caller reads."""
    unread, access = Unread(1 << 20, SystemClock()), Access(chain())
    registry, clock = fakes.registry(pipeline), FakeClock()
    service = ClusterService(registry, access, NOBODY, unread=unread, clock=clock)
    server = grpc.aio.server(interceptors=[CallLimiter(access.account)])
    cluster_v1_pb2_grpc.add_ClusterServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    asked = pb.WatchRequest(resource=pb.ResourceName(plural="configmaps"), namespace="n")
    credentials = (("authorization", f"Bearer {TOKEN}"),)
    options = [("grpc.http2.bdp_probe", 0)]  # or the window grows
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = cluster_v1_pb2_grpc.ClusterStub(channel).Watch(asked, metadata=credentials)
        await call.initial_metadata()
        data, most, number = codec.encode(ConfigMap(data={"k": "x" * 400_000})), 0, 0
        async with asyncio.timeout(60):
            while unread.used_bytes or not most:  # until what was held for the call is let go
                key = registry_key("configmaps", f"c{number}", "n")
                revision = await pipeline.store.create(key, data)
                await pipeline.cache.wait_for(revision, 5.0)
                await asyncio.sleep(0.1)
                most, number = max(most, unread.used_bytes), number + 1
                with unread.hold("other", lambda: None) as other:
                    other.add([b"x"])
            assert 2 * len(data) < most < 20 * len(data)
            with pytest.raises(grpc.aio.AioRpcError, match="the watch is not read") as ended:
                while await call.read() is not grpc.aio.EOF:
                    pass
    assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await server.stop(None)
