"""A node's old stream: what it still brings is ignored (row C12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.client.informer import Lister
from common.security.identity import Identity
from master.apiserver.rpc.nodes import NodeService, _end_with_the_first
from master.nodes.hub import Cidrs, NodeHub, NodeStream
from protos import node_v1_pb2
from tests.fakes.clock import FakeClock

FromNode = node_v1_pb2.FromNode
NODE = Identity("system:node:n1", ("system:nodes",))


class FakeReports:
    """Notes what is stored; refuses as often as it is told to."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.failures = 0
        self.code = 503

    async def _store(self, what: str) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise StatusError(self.code, "", "not now")
        self.stored.append(what)

    async def pod_status(self, identity: Identity, node: str, report: Any) -> None:
        """A pod's status."""
        await self._store(report.name)

    async def take_over(self, identity: Identity, name: str) -> None:
        """The node's certificate is used."""

    async def node_status(self, identity: Identity, name: str, data: bytes) -> None:
        """A node's status."""
        await self._store("node")

    async def pod_gone(self, identity: Identity, node: str, gone: Any) -> None:
        """A pod that is gone."""
        await self._store(f"gone {gone.name}")


class Setup:
    """A hub, its service, and what they tell."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reports = FakeReports()
        self.problem = ""
        listers = {
            name: Lister(resource)
            for name in ("pods", "configmaps", "secrets", "services")
            if (resource := SCHEME.resource("", "v1", name)) is not None
        }
        cidrs = Cidrs("10.42.0.0/16", "10.43.0.0/16")
        self.hub = NodeHub(
            listers,
            heartbeats={},
            usages={},
            cidrs=cidrs,
            problem=lambda identity: self.problem,
            clock=self.clock,
        )
        nobody: Any = None
        made: Any = self.reports
        self.service = NodeService(
            self.hub, made, nobody, nobody, nobody, nobody, chain=nobody, clock=self.clock
        )

    async def read(self, stream: NodeStream, *messages: FromNode) -> None:
        """Take messages of a stream."""

        async def coming() -> AsyncIterator[FromNode]:
            for message in messages:
                yield message

        await self.service._read(stream, coming())


@pytest.fixture
def setup() -> Setup:
    return Setup()


def report(name: str) -> FromNode:
    """A pod's status."""
    return FromNode(pod=node_v1_pb2.PodReport(namespace="n", name=name, uid=name))


def gone(name: str) -> FromNode:
    """Nothing is left of a pod."""
    return FromNode(gone=node_v1_pb2.PodGone(namespace="n", name=name, uid=name))


HEARTBEAT = FromNode(heartbeat=node_v1_pb2.Heartbeat(usage=node_v1_pb2.NodeUsage(cpu_nanocores=1)))
NEW_FIELD = b"\xc2\x3e\x03new"
"""Field 1000 of any message, as a later release might have one: three bytes."""
STATUS = FromNode(node=node_v1_pb2.NodeReport(status=b"{}"))


async def test_messages_of_an_old_stream_change_nothing(setup: Setup) -> None:
    old = setup.hub.open("n1", NODE)
    new = setup.hub.open("n1", NODE)
    assert new.epoch > old.epoch
    await setup.read(old, HEARTBEAT, STATUS, report("late"))
    assert setup.hub.heartbeats == {}
    assert setup.hub.usage == {}
    assert setup.reports.stored == []
    assert old.reports == {}
    await setup.read(new, HEARTBEAT, STATUS, report("now"))
    assert set(setup.hub.heartbeats) == {"n1"}
    assert set(new.reports) == {"node", "pod now"}


@pytest.mark.parametrize("code", [503, 429])
async def test_heartbeats_count_while_no_reports_are_taken(setup: Setup, code: int) -> None:
    """A node is not silent because etcd is away."""
    stream = setup.hub.open("n1", NODE)
    setup.reports.failures, setup.reports.code = 1000, code
    writing = asyncio.create_task(setup.service._write_reports(stream))
    await setup.read(stream, STATUS, gone("a"), report("b"))
    for _ in range(20):
        await setup.clock.advance(5)
        await setup.read(stream, HEARTBEAT)
        assert setup.hub.silence_seconds("n1") == 0.0
    setup.reports.failures = 0
    await setup.clock.advance(5)
    for _ in range(20):
        await asyncio.sleep(0)
    writing.cancel()
    assert setup.reports.stored == ["node", "gone a", "b"]


async def test_what_a_newer_kubelet_says_beyond_our_messages_is_passed_over(setup: Setup) -> None:
    stream = setup.hub.open("n1", NODE)
    nested = report("a")
    nested.pod.MergeFromString(NEW_FIELD)
    newer = [FromNode.FromString(m.SerializeToString() + NEW_FIELD) for m in (HEARTBEAT, nested)]
    await setup.read(stream, FromNode.FromString(NEW_FIELD), *newer)
    assert set(stream.reports) == {"pod a"}
    assert setup.hub.usage["n1"].cpu_nanocores == 1
    assert setup.hub.is_current(stream)


async def test_a_clock_that_is_set_makes_no_node_silent(setup: Setup) -> None:
    setup.hub.heard("n1")
    setup.clock.set_back(3600)
    assert setup.hub.silence_seconds("n1") == 0.0


async def test_a_report_that_waits_for_the_store_is_dropped_with_its_stream(setup: Setup) -> None:
    old = setup.hub.open("n1", NODE)
    await setup.read(old, report("a"), report("b"))
    setup.reports.failures = 1
    writing = asyncio.create_task(setup.service._write_reports(old))
    for _ in range(20):
        await asyncio.sleep(0)
    setup.hub.open("n1", NODE)
    await setup.clock.advance(10)
    for _ in range(20):
        await asyncio.sleep(0)
    writing.cancel()
    assert setup.reports.stored in ([], ["a"]), "the one on its way may end, no other begins"


async def test_a_stream_ends_with_a_part_of_it_that_is_cancelled(setup: Setup) -> None:
    """Its node is told so and comes again; it would wait for ever otherwise."""
    stream = setup.hub.open("n1", NODE)
    forever = asyncio.Event()
    tasks = [asyncio.create_task(forever.wait()) for _ in range(2)]
    ending = asyncio.create_task(_end_with_the_first(tasks, stream))
    tasks[0].cancel()
    assert await stream.outbox.get() is None
    await ending
    tasks[1].cancel()
