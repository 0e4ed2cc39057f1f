"""Many nodes' control streams on one master: heartbeats, what they cost, and a master that dies.

The nodes are the kubelet's own `ControlStream`, with certificates of the master's authority and
without pods. Late is a Lease that, at the end, was heard of more than 1.5 intervals ago.
`python -m tests.bench.nodes 100 300 1000` measures other numbers than the report does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from common.etcd.client import EtcdClient, prefix_end
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from node.session.control import ControlStream, Handlers
from node.session.credentials import Credentials, Held
from protos import node_v1_pb2
from tests.bench.measure import Row
from tests.bench.processes import cpu_seconds, pid_of, rss_mib, running_master
from tests.bench.services.store import etcd_of
from tests.servers.master import RunningMaster

NODES = 200
SETTINGS = "cluster-cidr: 10.128.0.0/12\n"
"""Blocks for 4 095 nodes."""
HEARTBEAT_SECONDS = 5.0
STEADY_SECONDS = 20.0
QUIET_SECONDS = 3.0
DEADLINE_SECONDS = 120.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def rows() -> Iterator[Row]:
    """The part of the report."""
    yield from of(NODES)


def of(count: int) -> Iterator[Row]:
    """What so many nodes cost a master of their own."""
    logging.getLogger("node.session.control").setLevel(logging.ERROR)
    with running_master(SETTINGS) as master:
        yield from asyncio.run(_measured(master, count))


async def _measured(master: RunningMaster, count: int) -> list[Row]:
    authority, ca_pem = master.client_ca(), master.kubeconfig.ca_pem
    target = f"127.0.0.1:{master.node_port}"
    streams = []
    for number in range(count):
        pair = authority.issue_client(f"system:node:n{number}", organizations=("system:nodes",))
        own = Credentials(ca=ca_pem, certificate=pair.certificate_pem, key=pair.key_pem)
        streams.append(ControlStream(target, Held(own), clock=SystemClock(), rng=SystemRng()))
    start = time.monotonic()
    tasks = [asyncio.create_task(one.run(handlers(n))) for n, one in enumerate(streams)]
    tasks.append(asyncio.create_task(_report_usage(streams)))
    try:
        await until(lambda: all(one.connected for one in streams), "every node is connected")
        found = [
            Row(
                f"{count} nodes join at once", f"{time.monotonic() - start:.1f} s", "20 s for 1 000"
            )
        ]
        found += await _steady(master, count)
        found.append(await _killed(master, streams))
        return found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _steady(master: RunningMaster, count: int) -> list[Row]:
    """Only heartbeats come: what is written all the same, and what the master does."""
    async with etcd_of(master) as etcd:
        await _quiet(etcd)
        revision, cpu = (await etcd.status()).revision, cpu_seconds(pid_of(master))
        await asyncio.sleep(STEADY_SECONDS)
        spent = cpu_seconds(pid_of(master)) - cpu
        written = (await etcd.status()).revision - revision
        every = await etcd.range(b"/", prefix_end(b"/"))
    keys = [item.key.decode() for item in every.items if item.mod_revision > revision]
    of_nodes = sum("/minions/" in key or "/nodes/" in key or "/leases/" in key for key in keys)
    others = ", ".join(sorted({key.rpartition("/")[0] for key in keys})) or "none"
    late, unready = await asyncio.to_thread(_lost, master, count)
    percent = spent / STEADY_SECONDS * 100
    rss = f"{rss_mib(pid_of(master)):.0f} MiB RSS"
    return [
        Row(f"{count} nodes: late heartbeats, nodes not Ready", f"{late}, {unready}", "0, 0"),
        Row("  writes of nodes and leases", f"{of_nodes} (all: {written}; {others})", "0"),
        Row("  master", f"{percent:.1f} % of a core, {percent / count:.3f} % a node, {rss}"),
    ]


async def _killed(master: RunningMaster, streams: list[ControlStream]) -> Row:
    """kill -9, and the same master again: until every node is back, by the nodes' own retries."""
    assert master.process is not None
    master.process.kill()
    master.process.wait()
    await until(lambda: not any(one.connected for one in streams), "every node has noticed")
    start = time.monotonic()
    await asyncio.to_thread(master.start)
    ready = time.monotonic() - start
    await until(lambda: all(one.connected for one in streams), "every node is back")
    seconds = time.monotonic() - start
    text = f"{seconds:.1f} s ({ready:.1f} s until it is ready)"
    return Row(f"start of a killed master until {len(streams)} nodes are back", text, "10 s")


def _lost(master: RunningMaster, count: int) -> tuple[int, int]:
    """Nodes whose last heartbeat is overdue, and nodes that are not Ready."""
    admin, now = master.admin(), datetime.now(UTC)
    leases = admin.json("GET", LEASES)["items"]
    nodes = admin.json("GET", "/api/v1/nodes")["items"]
    assert (len(leases), len(nodes)) == (count, count)
    heard = [datetime.fromisoformat(one["spec"]["renewTime"]) for one in leases]
    late = sum((now - one).total_seconds() > 1.5 * HEARTBEAT_SECONDS for one in heard)
    return late, sum(not _is_ready(one) for one in nodes)


def _is_ready(node: dict[str, Any]) -> bool:
    return any(
        one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"]
    )


async def _quiet(etcd: EtcdClient) -> None:
    """Return when the writes that follow on joining have ended."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    revision = -1
    while revision != (revision := (await etcd.status()).revision):
        assert time.monotonic() < deadline, "the store does not come to rest"
        await asyncio.sleep(QUIET_SECONDS)


async def _report_usage(streams: list[ControlStream]) -> None:
    """A usage for every heartbeat."""
    while True:
        now_ms = time.time_ns() // 1_000_000
        for stream in streams:
            stream.usage(node_v1_pb2.NodeUsage(timestamp_ms=now_ms, window_ms=5000, load_1m=0.5))
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not so: {what}"
        await asyncio.sleep(0.02)


def handlers(number: int) -> Handlers:
    """A node without pods."""
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    status = {
        "conditions": [condition],
        "addresses": [{"type": "InternalIP", "address": f"198.18.{number // 256}.{number % 256}"}],
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
    }
    node = json.dumps({"metadata": {"name": f"n{number}"}, "status": status}).encode()

    async def hello() -> node_v1_pb2.Hello:
        return node_v1_pb2.Hello(node_name=f"n{number}", boot_id="b", node=node)

    return Handlers(
        hello=hello,
        welcome=lambda _: None,
        assign=lambda message: "",
        network=lambda _: None,
        removed=lambda _: None,
        synced=lambda _: None,
        open_session=lambda *_: None,
        trust=lambda _: None,
        refused=lambda: None,
        trouble=lambda _: None,
    )


if __name__ == "__main__":
    for number in sys.argv[1:]:
        for row in of(int(number)):
            print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
