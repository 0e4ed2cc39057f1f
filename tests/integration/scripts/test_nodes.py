"""Usage and logs, as a node delivers them: the node is a script that speaks the nodes' service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from common.api.errors import StatusError
from common.client.grpc import GrpcClient, channel
from protos import cluster_v1_pb2 as pb
from protos import node_v1_pb2
from protos.node_v1_pb2_grpc import NodeServiceStub
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
PODS = "/api/v1/namespaces/default/pods"
FromNode, Frame = node_v1_pb2.FromNode, node_v1_pb2.SessionFrame


class FakeNode:
    """A node named n1: says what it is told to, and answers every log with two pieces."""

    def __init__(self, opened: grpc.aio.Channel) -> None:
        self._stub = NodeServiceStub(opened)
        self._say: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: asyncio.Queue[Any] = asyncio.Queue()
        self.answer: list[Any] = []

    async def _messages(self) -> AsyncIterator[Any]:
        node = {"metadata": {"name": "n1"}}
        hello = node_v1_pb2.Hello(node_name="n1", node=json.dumps(node).encode())
        yield FromNode(hello=hello)
        while True:
            yield await self._say.get()

    async def run(self, synced: asyncio.Event) -> None:
        """Hold the control stream."""
        async for message in self._stub.Control(self._messages()):
            if message.HasField("synced"):
                synced.set()
            if message.HasField("session"):
                await self.asked.put(message.session.log)
                await self._session(message.session.id)

    async def _session(self, token: str) -> None:
        async def frames() -> AsyncIterator[Any]:
            yield Frame(id=token)
            for frame in self.answer:
                yield frame

        async for _ in self._stub.Session(frames()):
            pass

    def use(self, cores: int) -> None:
        """Report a usage."""
        usage = node_v1_pb2.NodeUsage(cpu_nanocores=cores * 10**9, window_ms=5000)
        self._say.put_nowait(FromNode(heartbeat=node_v1_pb2.Heartbeat(usage=usage)))


@pytest_asyncio.fixture
async def node(master: RunningMaster) -> AsyncIterator[FakeNode]:
    """A connected node."""
    wanted = master.with_certificate(master.node_certificate("n1"))
    async with channel(wanted) as opened:
        made, synced = FakeNode(opened), asyncio.Event()
        running = asyncio.create_task(made.run(synced))
        await asyncio.wait_for(synced.wait(), 60)
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_node_usage(client: GrpcClient, node: FakeNode) -> None:
    """The last report at once, and each later one when it comes."""
    call = client.stub.NodeUsage(pb.NodeUsageRequest())
    node.use(1)
    first = await call.read()
    assert (first.node, first.usage.cpu_nanocores) == ("n1", 10**9)
    node.use(2)
    assert (await call.read()).usage.cpu_nanocores == 2 * 10**9
    call.cancel()
    once = client.stub.NodeUsage(pb.NodeUsageRequest(node="n1", once=True))
    assert [reply.usage.cpu_nanocores async for reply in once] == [2 * 10**9]
    with pytest.raises(grpc.aio.AioRpcError) as nobody:
        await client.stub.NodeUsage(pb.NodeUsageRequest(node="n2")).read()
    assert nobody.value.code() == grpc.StatusCode.NOT_FOUND


async def test_bytes_that_are_no_message_end_a_nodes_stream(master: RunningMaster) -> None:
    """With a word to the node, and without a traceback."""
    node = json.dumps({"metadata": {"name": "broken"}}).encode()
    hello = FromNode(hello=node_v1_pb2.Hello(node_name="broken", node=node))
    wanted = master.with_certificate(master.node_certificate("broken"))
    async with channel(wanted) as opened:
        call = opened.stream_stream("/wherry.node.v1.NodeService/Control")()
        await call.write(hello.SerializeToString())
        await call.read()
        await call.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            while await call.read() is not grpc.aio.EOF:
                pass
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in master.log.read_text(errors="replace")


async def test_a_hello_says_null_where_it_says_nothing(master: RunningMaster) -> None:
    """As Go reads JSON; the Node is as the rest of the hello says."""
    status = {"conditions": None, "capacity": {"cpu": "3"}, "addresses": None}
    node = json.dumps({"metadata": {"name": None, "labels": None}, "status": status}).encode()
    hello = FromNode(hello=node_v1_pb2.Hello(node_name="nulls", node=node))
    wanted = master.with_certificate(master.node_certificate("nulls"))
    async with channel(wanted) as opened:
        call = NodeServiceStub(opened).Control()
        await call.write(hello)
        assert (await call.read()).HasField("welcome")
        call.cancel()
    made = master.admin().json("GET", "/api/v1/nodes/nulls")
    assert made["status"]["capacity"] == {"cpu": "3"}


def running_pod(master: RunningMaster, name: str) -> None:
    """A pod on n1 whose container runs, as far as the API knows."""
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}
    master.admin().json("POST", PODS, {"metadata": {"name": name}, "spec": spec})
    pod = master.admin().json("GET", f"{PODS}/{name}")
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    status = {"name": "c", "image": "x", "imageID": "", "ready": True, "restartCount": 0}
    pod["status"] = {"phase": "Running", "containerStatuses": [{**status, "state": state}]}
    master.admin().json("PUT", f"{PODS}/{name}/status", pod)


async def test_logs(master: RunningMaster, client: GrpcClient, node: FakeNode) -> None:
    """The options reach the node, its bytes and its errors the caller."""
    await asyncio.to_thread(running_pod, master, "talks")
    try:
        node.answer = [Frame(data=b"one\n"), Frame(data=b"two\n"), Frame(end=True)]
        pieces = [chunk async for chunk in client.logs("default", "talks", tail_lines=2)]
        assert b"".join(pieces) == b"one\ntwo\n"
        asked = await node.asked.get()
        assert (asked.name, asked.container, asked.tail_lines, asked.follow) == (
            "talks",
            "c",
            2,
            False,
        )
        request = pb.LogsRequest(
            namespace="default",
            pod="talks",
            follow=True,
            timestamps=True,
            since_time="2026-01-01T00:00:00Z",
            limit_bytes=100,
        )
        await client.stub.Logs(request).read()
        asked = await node.asked.get()
        assert (asked.follow, asked.timestamps, asked.limit_bytes) == (True, True, 100)
        assert asked.since_ms == 1767225600000
        status = {"code": 500, "reason": "InternalError", "message": "the log is gone"}
        node.answer = [Frame(data=b"one\n"), Frame(end=True, error=json.dumps(status).encode())]
        heard = []
        with pytest.raises(StatusError, match="the log is gone"):
            async for chunk in client.logs("default", "talks"):
                heard.append(chunk)
        assert heard == [b"one\n"]
        for wrong in (
            pb.LogsRequest(namespace="default", pod="talks", container="other"),
            pb.LogsRequest(namespace="default", pod="talks", since_time="yesterday"),
            pb.LogsRequest(namespace="default", pod="talks", previous=True),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.stub.Logs(wrong).read()
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    finally:
        options = {"gracePeriodSeconds": 0}
        await asyncio.to_thread(master.admin().json, "DELETE", f"{PODS}/talks", options)
