"""Many pods at once: how fast they are taken, bound and Running, and how long one waits for that.

100 nodes say Running as soon as they hear of a pod, and 16 clients create as fast as they are
answered. Times are from when a create was sent first; what is answered 429 is sent again. The
clients, the watch that sees what becomes of the pods, and the nodes are processes beside the
master's. `python -m tests.bench.pods 3` measures three times over.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from common.client.https import client_context
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.keypair import KeyPair
from node.session.control import ControlStream
from node.session.credentials import Credentials, Held
from protos import node_v1_pb2
from tests.bench.measure import Row, percentile
from tests.bench.nodes import handlers, until
from tests.bench.processes import cpu_seconds, pid_of, running_master
from tests.integration.security.test_rbac import bound
from tests.servers.master import RunningMaster

NODES = 100
PODS = 1_000
CLIENTS = 16
PATH = "/api/v1/namespaces/default/pods"
SPEC = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}
RUNNING = b'{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}'
MAKERS = "makers"
KINDS = {
    "one user": (("u0", MAKERS),),
    f"{CLIENTS} users": tuple((f"u{n}", MAKERS) for n in range(CLIENTS)),
    "an administrator": (("root", "system:masters"),),
}
"""Who creates: (name, group) of each user."""


class Door(NamedTuple):
    """A master, and the certificate to call it with."""

    port: int
    ca_pem: bytes
    pair: KeyPair

    def connect(self) -> http.client.HTTPSConnection:
        """A connection of one's own."""
        context = client_context(self.ca_pem, self.pair)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)


class Create(NamedTuple):
    """When a create was sent first and answered at last, and how often it was answered 429."""

    sent: float
    answered: float
    refused: int


class Seen(NamedTuple):
    """When pods were seen bound, and when Running, by name."""

    bound: dict[str, float]
    running: dict[str, float]


def rows() -> Iterator[Row]:
    """The part of the report."""
    with running_master() as master:
        bound(master, MAKERS, "edit", {"kind": "Group", "name": MAKERS})
        yield from asyncio.run(_measured(master))


async def _measured(master: RunningMaster) -> list[Row]:
    """Each kind of clients in turn, on the same nodes."""
    found: list[Row] = []
    spawn = get_context("spawn")
    async with _nodes(master):
        with ProcessPoolExecutor(2, mp_context=spawn) as pool:
            for kind, users in KINDS.items():
                found += await _one(master, pool, kind, users)
                await _emptied(master)
    return found


async def _one(
    master: RunningMaster, pool: ProcessPoolExecutor, kind: str, users: Sequence[tuple[str, str]]
) -> list[Row]:
    authority, ca_pem = master.client_ca(), master.kubeconfig.ca_pem
    doors = [
        Door(master.port, ca_pem, authority.issue_client(name, organizations=(group,)))
        for name, group in users
    ]
    revision = (await asyncio.to_thread(master.admin().json, "GET", PATH))["metadata"]
    admin = master.kubeconfig.certificate
    assert admin is not None
    loop, cpu = asyncio.get_running_loop(), cpu_seconds(pid_of(master))
    watching = loop.run_in_executor(
        pool, _follow, Door(master.port, ca_pem, admin), revision["resourceVersion"]
    )
    creates = await loop.run_in_executor(pool, _create, doors)
    seen = await watching
    spent = cpu_seconds(pid_of(master)) - cpu
    return _rows(kind, creates, seen, spent)


def _rows(kind: str, creates: dict[str, Create], seen: Seen, cpu: float) -> list[Row]:
    first = min(one.sent for one in creates.values())
    ends = [one.answered for one in creates.values()], seen.bound.values(), seen.running.values()
    taken, placed, running = (round(PODS / (max(times) - first)) for times in ends)
    refused = sum(one.refused for one in creates.values())
    return [
        Row(
            f"{PODS} pods by {CLIENTS} clients of {kind}, a second",
            f"created {taken}, bound {placed}, Running {running}; 429: {refused}",
        ),
        Row("  create to bound", _waits(creates, seen.bound)),
        Row("  create to Running", _waits(creates, seen.running)),
        Row("  master's CPU a pod; load", f"{cpu / PODS * 1e3:.1f} ms; {os.getloadavg()[0]:.1f}"),
    ]


def _waits(creates: dict[str, Create], ends: dict[str, float]) -> str:
    waits = [ends[name] - one.sent for name, one in creates.items()]
    return f"p50 {statistics.median(waits):.2f} s, p99 {percentile(waits, 99):.2f} s"


def _create(doors: Sequence[Door]) -> dict[str, Create]:
    """Create every pod, by so many clients; in a process of its own."""
    share = [[f"pod-{n}" for n in range(PODS)][first::CLIENTS] for first in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [
            pool.submit(_client, doors[number % len(doors)], names)
            for number, names in enumerate(share)
        ]
        return {name: made for client in clients for name, made in client.result().items()}


def _client(door: Door, names: Sequence[str]) -> dict[str, Create]:
    """One after the other, on one connection."""
    made, connection = {}, door.connect()
    for name in names:
        body = json.dumps({"metadata": {"name": name}, "spec": SPEC})
        sent, refused = time.monotonic(), 0
        while (code := _post(connection, body)) == http.HTTPStatus.TOO_MANY_REQUESTS:
            refused += 1
            time.sleep(1.0)
        assert code == http.HTTPStatus.CREATED, code
        made[name] = Create(sent, time.monotonic(), refused)
    connection.close()
    return made


def _post(connection: http.client.HTTPSConnection, body: str) -> int:
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _follow(door: Door, revision: str) -> Seen:
    """Watch until every pod is Running; in a process of its own."""
    seen, connection = Seen({}, {}), door.connect()
    connection.request("GET", f"{PATH}?watch=1&resourceVersion={revision}")
    answer = connection.getresponse()
    while len(seen.running) < PODS:
        pod, now = json.loads(answer.readline())["object"], time.monotonic()
        if pod["spec"].get("nodeName"):
            seen.bound.setdefault(pod["metadata"]["name"], now)
        if pod["status"]["phase"] == "Running":
            seen.running.setdefault(pod["metadata"]["name"], now)
    connection.close()
    return seen


@asynccontextmanager
async def _nodes(master: RunningMaster) -> AsyncIterator[None]:
    """Nodes that are connected."""
    authority, ca_pem = master.client_ca(), master.kubeconfig.ca_pem
    streams = []
    for number in range(NODES):
        pair = authority.issue_client(f"system:node:n{number}", organizations=("system:nodes",))
        own = Credentials(ca=ca_pem, certificate=pair.certificate_pem, key=pair.key_pem)
        target = f"127.0.0.1:{master.node_port}"
        streams.append(ControlStream(target, Held(own), clock=SystemClock(), rng=SystemRng()))
    tasks = [
        asyncio.create_task(one.run(replace(handlers(n), assign=partial(_assign, one))))
        for n, one in enumerate(streams)
    ]
    try:
        await until(lambda: all(one.connected for one in streams), "every node is connected")
        await _can_take_pods(master)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _can_take_pods(master: RunningMaster) -> None:
    """Wait until every node is schedulable: a pod that is tried before backs off, up to 10 s."""
    admin = master.admin()
    while True:
        nodes = (await asyncio.to_thread(admin.json, "GET", "/api/v1/nodes"))["items"]
        able = [one for one in nodes if one["status"].get("allocatable")]
        if len(able) == NODES and not any(one["spec"].get("taints") for one in able):
            return
        await asyncio.sleep(0.2)


def _assign(stream: ControlStream, message: node_v1_pb2.PodAssignment) -> str:
    """Report a pod Running that was not."""
    pod = json.loads(message.pod)
    meta = pod["metadata"]
    if pod["status"]["phase"] != "Running":
        stream.pod_report(
            node_v1_pb2.PodReport(
                namespace=meta["namespace"],
                name=meta["name"],
                uid=meta["uid"],
                sequence=1,
                status=RUNNING,
            )
        )
    return str(meta["uid"])


async def _emptied(master: RunningMaster) -> None:
    """Delete every pod, and wait until they are gone."""
    admin = master.admin()
    await asyncio.to_thread(admin.request, "DELETE", f"{PATH}?gracePeriodSeconds=0")
    while (await asyncio.to_thread(admin.json, "GET", f"{PATH}?limit=1"))["items"]:
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        for row in rows():
            print(f"{row.what:<58} {row.measured}", flush=True)
