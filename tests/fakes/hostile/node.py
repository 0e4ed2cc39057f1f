"""A machine with a node's certificate that does what it can to harm the master and its neighbours.

Every message is well-formed protobuf: what is wrong with it is what it says, how much, how often.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio

from protos import node_v1_pb2
from protos.node_v1_pb2_grpc import NodeServiceStub

FromNode, PodReport = node_v1_pb2.FromNode, node_v1_pb2.PodReport
LONG = 1_900_000


def event(about: Any, **fields: str) -> FromNode:
    """An event; `about` is JSON unless it is bytes."""
    data = about if isinstance(about, bytes) else json.dumps(about).encode()
    said = {"type": "Normal", "reason": "Harm", "message": "m", **fields}
    return FromNode(event=node_v1_pb2.EventReport(involved_object=data, **said))


def status(plain: Any) -> FromNode:
    """A report of its own status."""
    return FromNode(node=node_v1_pb2.NodeReport(status=json.dumps(plain).encode()))


def usage(**fields: Any) -> FromNode:
    """A heartbeat with a usage."""
    return FromNode(heartbeat=node_v1_pb2.Heartbeat(usage=node_v1_pb2.NodeUsage(**fields)))


def events() -> Iterator[FromNode]:
    """About namespaces that cannot be, about others, of megabytes, of no kind at all."""
    pod = {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "p", "uid": "u"}
    for namespace in ("a/b", "..", "a\x01b", "x" * LONG, "kube-system"):
        yield event({**pod, "namespace": namespace})
    for number in range(3):
        yield event({**pod, "name": f"{number}-" + "x" * LONG})
    yield event({**pod, "kind": "Secret"}, reason="x" * LONG)
    yield event(pod, message="x" * LONG, type="Foo")
    yield event(b"[" * 100_000)
    yield event(b"[]")


def statuses() -> Iterator[FromNode]:
    """With too many items, with amounts and addresses that are none, deep, broken."""
    conditions = [{"type": f"T{n}", "status": "True"} for n in range(20_000)]
    yield status({"conditions": conditions})
    yield status({"conditions": conditions[:8000]})
    yield status({"images": [{"names": [f"i{n}"]} for n in range(5000)]})
    yield status({"capacity": {"cpu": "banana"}})
    yield status({"capacity": {"cpu": "9" * 5000}})
    for address in (
        "text",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "224.0.0.1",
        "::1",
        "8.8.8.8",
    ):
        yield status({"addresses": [{"type": "InternalIP", "address": address}]})
    for data in (b"[" * 400_000, b"{", b"\xff", b"", b"null", b"5"):
        yield FromNode(node=node_v1_pb2.NodeReport(status=data))


def figures() -> Iterator[FromNode]:
    """Times and amounts beyond every calendar."""
    for number in (2**62, 2**63 - 1, -1, -(2**63)):
        yield usage(timestamp_ms=number, window_ms=number)
        yield usage(cpu_nanocores=number, memory_working_set_bytes=number)
    yield usage(load_1m=float("inf"))
    yield usage(pods=[node_v1_pb2.PodUsage(namespace="kube-system", name="p")] * 5000)


def pods() -> Iterator[FromNode]:
    """Reports of pods of others, of pods that never were, and of too much."""
    for number in range(200):
        report = PodReport(namespace="default", name=f"p{number}", uid=str(number), status=b"{}")
        yield FromNode(pod=report)
    yield FromNode(pod=PodReport(namespace="default", name="other", uid="x" * LONG, status=b"{}"))
    yield FromNode(pod=PodReport(namespace="a/b", name="..", uid="u", status=b"x" * LONG))
    yield FromNode(gone=node_v1_pb2.PodGone(namespace="default", name="other", uid="u"))
    yield FromNode()
    yield FromNode(hello=node_v1_pb2.Hello(node_name="other"))


class HostileNode:
    """Holds a control stream and sends all of that, again and again."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self._stub = NodeServiceStub(channel)
        self._name = name
        self.sent = 0
        self.rounds = 0

    async def run(self) -> None:
        """Until cancelled; a stream that is ended is opened again."""
        while True:
            try:
                async for _ in self._stub.Control(self._messages()):
                    pass
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)

    async def _messages(self) -> AsyncIterator[FromNode]:
        node = json.dumps({"metadata": {"name": self._name}}).encode()
        yield FromNode(hello=node_v1_pb2.Hello(node_name=self._name, node=node))
        while True:
            for harm in (events, statuses, figures, pods):
                for message in harm():
                    self.sent += 1
                    yield message
            self.rounds += 1
