"""Fault row E4: a watcher that never reads. What waits for it is bounded, it is closed, and others
are told everything.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from common.client.grpc import GrpcClient, channel
from protos import cluster_v1_pb2 as pb
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
PATH = "/api/v1/namespaces/default/configmaps"
WATCH = f"{PATH}?watch=1&fieldSelector=metadata.name%3Dbig"
OBJECT_BYTES = 500_000
WATCHERS = 8
ROUNDS_MAX = 200
"""That is more than ten times what a watcher may leave unread."""
GRPC_ROUNDS = 60
GROWTH_MAX_BYTES = 100 << 20
RECEIVE_BYTES = 65536


class Sleeper:
    """A watcher over TLS who reads the head of the answer, and nothing else."""

    def __init__(self, master: RunningMaster) -> None:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        plain.connect(("127.0.0.1", master.port))
        context = master.context(master.kubeconfig.certificate)
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.port = self.socket.getsockname()[1]
        self.socket.sendall(f"GET {WATCH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert self.socket.recv(12) == b"HTTP/1.1 200"


def events(master: RunningMaster) -> Iterator[dict[str, Any]]:
    """What somebody is told who reads."""
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        connection.request("GET", WATCH)
        answer = connection.getresponse()
        assert answer.status == 200
        while line := answer.readline():
            yield json.loads(line)


def connected(master: RunningMaster) -> set[int]:
    """The ports of the clients whose connections the master has."""
    assert master.process is not None
    return {
        one.raddr.port
        for one in psutil.Process(master.process.pid).net_connections("tcp4")
        if one.raddr and one.status == psutil.CONN_ESTABLISHED
    }


def test_a_watcher_that_never_reads_is_closed(master: RunningMaster) -> None:
    assert master.process is not None
    process, admin = psutil.Process(master.process.pid), master.admin()
    admin.json("POST", PATH, {"metadata": {"name": "big"}})
    reader = events(master)
    assert next(reader)["type"] == "ADDED"
    sleepers = [Sleeper(master) for _ in range(WATCHERS)]
    before, told = process.memory_info().rss, 0
    while connected(master) & {one.port for one in sleepers}:
        assert told < ROUNDS_MAX, "as much as you like waits for a watcher that reads nothing"
        data = {"data": {"number": str(told), "fill": "x" * OBJECT_BYTES}}
        admin.json("PATCH", f"{PATH}/big", data)
        assert next(reader)["object"]["data"]["number"] == str(told)
        told += 1
    assert process.memory_info().rss - before < GROWTH_MAX_BYTES
    for one in sleepers:
        one.socket.close()
    admin.json("PATCH", f"{PATH}/big", {"data": {"number": "last"}})
    assert next(reader)["object"]["data"]["number"] == "last"
    assert "Traceback" not in Path(master.log).read_text(errors="replace")


async def test_a_script_that_never_reads_is_told_that_it_has_missed_something(
    master: RunningMaster,
) -> None:
    """Over gRPC nothing ends a call whose caller takes nothing; what waits is as bounded."""
    assert master.process is not None
    process, admin = psutil.Process(master.process.pid), master.admin()
    path = f"{PATH}/huge"
    admin.json("POST", PATH, {"metadata": {"name": "huge"}})
    async with GrpcClient(channel(master.with_token())) as client:
        asked = pb.WatchRequest(
            resource=pb.ResourceName(plural="configmaps"),
            namespace="default",
            field_selector="metadata.name=huge",
        )
        sleepers = [client.stub.Watch(asked) for _ in range(WATCHERS)]
        for one in sleepers:
            await one.initial_metadata()
        before, reader = process.memory_info().rss, client.stub.Watch(asked)
        assert await reader.read() is not grpc.aio.EOF
        for number in range(GRPC_ROUNDS):
            data = {"data": {"number": str(number), "fill": "x" * OBJECT_BYTES}}
            await asyncio.to_thread(admin.json, "PATCH", path, data)
            event = json.loads((await reader.read()).object)
            assert event["data"]["number"] == str(number)
        assert process.memory_info().rss - before < GROWTH_MAX_BYTES
        for one in sleepers:
            told = 0
            with pytest.raises(grpc.aio.AioRpcError, match="too old resource version") as error:
                while await one.read() is not grpc.aio.EOF:
                    told += 1
            assert error.value.code() is grpc.StatusCode.OUT_OF_RANGE
            assert told < GRPC_ROUNDS
