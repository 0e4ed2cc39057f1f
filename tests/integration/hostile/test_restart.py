"""Fault row E5: a master dies with all its nodes and watches, and all of them come back at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.client.grpc import GrpcClient, Settings, channel
from common.client.informer import Informer
from common.etcd.client import EtcdClient
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from node.kubeproxy.credentials import tls
from node.kubeproxy.plan import Changes
from node.kubeproxy.proxy import Proxy
from node.kubeproxy.table import Table
from node.session.control import ControlStream
from node.session.credentials import Credentials, Held
from tests.bench.nodes import LEASES, handlers
from tests.integration.security.test_rbac import RBAC, created
from tests.integration.security.test_revocation import kubeconfig
from tests.servers.master import RunningMaster
from tests.unit.kubeproxy.objects import FACTS

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
NODES = 40
INFORMERS = 60
"""Of one user: two of their lists are made at a time."""
WAIT_SECONDS = 60.0
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"


class Nothing:
    """A dataplane that carries nothing."""

    async def reload(self, changes: Changes) -> None:
        """All rules."""

    async def apply(self, changes: Changes) -> None:
        """Some rules."""

    async def is_intact(self) -> bool:
        """It always is."""
        return True


class Fleet:
    """Kubelets, kube-proxies and a user's informers, each with their own retries."""

    def __init__(self, master: RunningMaster, client: GrpcClient) -> None:
        target, clock, rng = f"127.0.0.1:{master.node_port}", SystemClock(), SystemRng()
        self.streams: list[ControlStream] = []
        self.clients: list[EtcdClient] = []
        self.proxies: list[Proxy] = []
        for number in range(NODES):
            pair = master.node_certificate(f"n{number}")
            ca_pem = master.kubeconfig.ca_pem
            own = Credentials(ca=ca_pem, certificate=pair.certificate_pem, key=pair.key_pem)
            self.streams.append(ControlStream(target, Held(own), clock=clock, rng=rng))
            gateway = EtcdClient([target], tls(own), clock=clock, rng=rng)
            self.clients.append(gateway)
            self.proxies.append(Proxy(gateway, Table(FACTS), Nothing(), clock=clock, rng=rng))
        kind = client.resource("configmaps")
        self.informers = [Informer(client, kind, clock=clock, rng=rng) for _ in range(INFORMERS)]

    async def __aenter__(self) -> Fleet:
        """All begin at once."""
        runs = [one.run(handlers(number)) for number, one in enumerate(self.streams)]
        runs += [one.run() for one in (*self.proxies, *self.informers)]
        self._tasks = [asyncio.create_task(run) for run in runs]
        return self

    async def __aexit__(self, *_: object) -> None:
        """None has ended by itself."""
        assert not any(task.done() for task in self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            await client.close()

    def know(self, name: str) -> bool:
        """Whether nodes are connected, and every informer and proxy has an object of that name."""
        return (
            all(one.connected for one in self.streams)
            and all(one.lister.get("default", name) for one in self.informers)
            and all(f"default/{name}" in one.table.services for one in self.proxies)
        )


@pytest.fixture
async def client(master: RunningMaster, tmp_path: Path) -> AsyncIterator[GrpcClient]:
    """One of a user who may view, and is no administrator."""
    config = kubeconfig(master, tmp_path, "viewer", "--group", "viewers")
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"kind": "Group", "name": "viewers"}
    bound = {"metadata": {"name": "viewers"}, "roleRef": ref, "subjects": [subject]}
    created(master, f"{RBAC}/clusterrolebindings", bound)
    target = f"127.0.0.1:{master.node_port}"
    async with GrpcClient(channel(Settings(target, config.ca_pem, config.certificate))) as made:
        yield made


def make(master: RunningMaster, name: str) -> None:
    """A ConfigMap and a Service of a name."""
    created(master, CONFIG_MAPS, {"metadata": {"name": name}, "data": {"k": "v" * 1000}})
    created(master, SERVICES, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


def beats(master: RunningMaster) -> dict[str, str]:
    """When each node was heard last."""
    items = master.admin().json("GET", LEASES)["items"]
    return {one["metadata"]["name"]: one["spec"]["renewTime"] for one in items}


async def test_all_come_back_once_and_stay(master: RunningMaster, client: GrpcClient) -> None:
    assert master.process is not None
    async with Fleet(master, client) as fleet:
        await asyncio.to_thread(make, master, "before")
        await until(lambda: fleet.know("before"))
        os.kill(master.process.pid, signal.SIGKILL)
        master.process.wait()
        await until(lambda: not any(one.connected for one in fleet.streams))
        await asyncio.to_thread(master.start)
        await asyncio.to_thread(make, master, "after")
        await until(lambda: fleet.know("after"))
        first = await asyncio.to_thread(beats, master)
        assert len(first) == NODES
        await until(lambda: not first.items() & beats(master).items())
        assert all(one.connected for one in fleet.streams)
    said = master.log.read_text()
    assert said.count("node connected") == 2 * NODES, "nobody was turned away, or came once more"
    assert "Traceback" not in said
