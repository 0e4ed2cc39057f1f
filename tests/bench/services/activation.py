"""An EndpointSlice is written through the API: how long until the rules of three nodes follow.

Each node is a process with a real Proxy, whose rules are in a network namespace of their own; all
of them watch one master's gateway. A rule is active when its transaction is committed. Changes come
far enough apart that none waits for the interval between transactions; and in a second turn at
random moments of a steady stream of other changes, where each waits for its share of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection

from common.etcd.client import EtcdClient
from common.etcd.types import Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.plan import Changes
from node.kubeproxy.proxy import Proxy
from node.kubeproxy.table import NodeFacts, Table
from tests.bench.measure import Row, percentile
from tests.bench.processes import running_master
from tests.bench.services.store import BASE_PORT, etcd_of, put_service, put_slice, write
from tests.fakes.sandbox import own_machine
from tests.servers.master import RunningMaster

NODES = 3
SERVICES = 100
CHANGES = 30
SEEN = 0
"""The service whose rules are waited for."""
APART_SECONDS = (0.3, 0.5)
OTHERS_APART_SECONDS = 0.05
DEADLINE_SECONDS = 20.0
TARGET = "p99 300 ms"
SLICE = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/s{SEEN}"


DNAT_PORT = re.compile(r"dnat to [0-9.]+:([0-9]+)")


def rows() -> Iterator[Row]:
    """The part of the report."""
    with running_master() as master:
        asyncio.run(_fill(master))
        spawn, pipes, processes = get_context("spawn"), [], []
        for number in range(NODES):
            ours, theirs = spawn.Pipe(duplex=False)
            pair = master.node_certificate(f"n{number}")
            tls = Tls(master.kubeconfig.ca_pem, pair.certificate_pem, pair.key_pem, "wherry-master")
            target = f"127.0.0.1:{master.node_port}"
            arguments = (theirs, f"n{number}", target, tls)
            processes.append(spawn.Process(target=_node, args=arguments))
            pipes.append(ours)
        try:
            for process in processes:
                process.start()
            yield from asyncio.run(_measured(master, pipes))
        finally:
            for process in processes:
                process.kill()
                process.join()


async def _fill(master: RunningMaster) -> None:
    async with etcd_of(master) as etcd:
        await write(etcd, [put(n) for n in range(SERVICES) for put in (put_service, put_slice)])


async def _measured(master: RunningMaster, pipes: list[Connection]) -> list[Row]:
    found = []
    context = master.context(master.kubeconfig.certificate)
    api = HTTPSConnection("127.0.0.1", master.port, context=context, timeout=DEADLINE_SECONDS)
    for pipe in pipes:
        await asyncio.to_thread(_told, pipe, BASE_PORT)
    async with etcd_of(master) as etcd:
        for title, busy in (("alone", False), ("amid others", True)):
            others = asyncio.create_task(_change_others(etcd)) if busy else None
            times_ms = await asyncio.to_thread(_changes, api, pipes, BASE_PORT + 1 + busy * CHANGES)
            if others is not None:
                others.cancel()
                await asyncio.gather(others, return_exceptions=True)
            text = (
                f"p50 {statistics.median(times_ms):.0f} ms, p99 {percentile(times_ms, 99):.0f} ms"
            )
            found.append(Row(f"endpoint change to rule on {NODES} nodes, {title}", text, TARGET))
    api.close()
    return found


def _changes(api: HTTPSConnection, pipes: list[Connection], first_port: int) -> list[float]:
    """Milliseconds from sending each change until the last node has its rule."""
    pauses, measured = random.Random(first_port), []
    for port in range(first_port, first_port + CHANGES):
        time.sleep(pauses.uniform(*APART_SECONDS))
        body = json.dumps({"ports": [{"name": "", "port": port, "protocol": "TCP"}]})
        start = time.monotonic()
        api.request("PATCH", SLICE, body, {"Content-Type": "application/merge-patch+json"})
        answer = api.getresponse()
        assert (answer.status, answer.read())[0] == 200
        measured.append((max(_told(pipe, port) for pipe in pipes) - start) * 1000)
    return measured


def _told(pipe: Connection, port: int) -> float:
    """When a node's rules led to that port; on the clock that all processes share."""
    while pipe.poll(DEADLINE_SECONDS):
        at, found = pipe.recv()
        if found == port:
            return float(at)
    raise AssertionError(f"a node has no rule to port {port}")


async def _change_others(etcd: EtcdClient) -> None:
    """Other services' endpoints change all the time, so that every interval has a transaction."""
    chosen, port = random.Random(2), BASE_PORT
    while True:
        port = BASE_PORT + (port + 1 - BASE_PORT) % 1000
        await etcd.txn([], [put_slice(chosen.randrange(SEEN + 1, SERVICES), port)])
        await asyncio.sleep(OTHERS_APART_SECONDS)


class _Telling:
    """A dataplane that says when a transaction has led the service to which port."""

    def __init__(self, inner: NftablesDataplane, pipe: Connection) -> None:
        self._inner, self._pipe = inner, pipe

    async def reload(self, changes: Changes) -> None:
        """As the real one."""
        await self._inner.reload(changes)
        self._tell(changes)

    async def apply(self, changes: Changes) -> None:
        """As the real one."""
        await self._inner.apply(changes)
        self._tell(changes)

    async def is_intact(self) -> bool:
        """As the real one."""
        return await self._inner.is_intact()

    def _tell(self, changes: Changes) -> None:
        at = time.monotonic()
        piece = changes.get(f"default/s{SEEN}")
        rules = [rule for chain in piece.chains.values() for rule in chain] if piece else []
        if found := DNAT_PORT.search(" ".join(rules)):
            self._pipe.send((at, int(found[1])))


def _node(pipe: Connection, name: str, target: str, tls: Tls) -> None:
    """A process: the proxy of one node."""
    asyncio.run(_proxy(pipe, name, target, tls))


async def _proxy(pipe: Connection, name: str, target: str, tls: Tls) -> None:
    clock, rng, facts = SystemClock(), SystemRng(), NodeFacts(name, ("192.0.2.1",))
    client = EtcdClient([target], tls, clock=clock, rng=rng)
    dataplane = NftablesDataplane(facts, await own_machine())
    await Proxy(client, Table(facts), _Telling(dataplane, pipe), clock=clock, rng=rng).run()
