"""A well-behaved node without pods: it says hello, and then that it lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc.aio

from protos import node_v1_pb2
from protos.node_v1_pb2_grpc import NodeServiceStub
from tests.servers.master import RunningMaster

FromNode = node_v1_pb2.FromNode


async def hold(channel: grpc.aio.Channel, name: str) -> None:
    """A control stream until cancelled; raises when the master ends it."""
    async for _ in NodeServiceStub(channel).Control(_messages(name)):
        pass


async def _messages(name: str) -> AsyncIterator[FromNode]:
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    node = {"metadata": {"name": name}, "status": {"conditions": [ready]}}
    hello = node_v1_pb2.Hello(node_name=name, node=json.dumps(node).encode())
    yield FromNode(hello=hello)
    while True:
        yield FromNode(heartbeat=node_v1_pb2.Heartbeat())
        await asyncio.sleep(1)


def is_ready(master: RunningMaster, name: str) -> bool:
    """Whether the API says so."""
    status, data = master.admin().request("GET", f"/api/v1/nodes/{name}")
    conditions = json.loads(data)["status"]["conditions"] if status == 200 else []
    return any({"type": "Ready", "status": "True"}.items() <= one.items() for one in conditions)
