"""Controllers and scheduler in a whole master over a store in memory; nodes are objects only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types.apps_v1 import Deployment
from common.api.types.core_v1 import Container, Namespace, Node, NodeCondition, Pod
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from master.apiserver.local import LocalClient
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.stored import Stored
from master.bootstrap import bootstrap
from master.config import MasterConfig
from master.pki.pki import Pki
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from master.wiring import components
from master.wiring.build import build
from tests.fakes.otherservices import SERVICES, services
from tests.unit.controllers.test_deployment import deployment
from tests.unit.scheduler.world import node_item

Check = Callable[[], Awaitable[Any]]


def resource(plural: str, group: str = "") -> Resource:
    found = SCHEME.resource(group, "v1", plural)
    assert found is not None
    return found


PODS, NODES, NAMESPACES = resource("pods"), resource("nodes"), resource("namespaces")
DEPLOYMENTS = resource("deployments", "apps")


class Running:
    """A client, and waiting for what is to come."""

    def __init__(self, client: LocalClient, registry: Registry) -> None:
        self.client = client
        self.registry = registry

    async def pods(self) -> list[Pod]:
        found = await self.client.list(PODS, "default")
        return [codec.decode(data, Pod) for data in found.items]

    async def deployment(self) -> Deployment:
        data = await self.client.get(DEPLOYMENTS, "default", "web")
        return codec.decode(data, Deployment)

    async def until(self, check: Check) -> Any:
        async with asyncio.timeout(30):
            while not (found := await check()):
                await asyncio.sleep(0.02)
            return found

    async def run_pods(self) -> None:
        """Play the kubelets: pods that have a node become ready."""
        while True:
            for pod in await self.pods():
                if pod.spec.nodeName and pod.status.phase != "Running":
                    ready = {"type": "Ready", "status": "True"}
                    status = {"phase": "Running", "conditions": [ready]}
                    await self.client.patch(
                        PODS, "default", pod.metadata.name, {"status": status}, subresource="status"
                    )
                if pod.metadata.deletionTimestamp:
                    await self.client.delete(
                        PODS,
                        "default",
                        pod.metadata.name,
                        uid=pod.metadata.uid,
                        grace_period_seconds=0,
                    )
            await asyncio.sleep(0.05)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    clock, rng = SystemClock(), SystemRng()
    config = MasterConfig(
        advertise_address="127.0.0.1",
        data_dir=str(tmp_path / "data"),
    )
    pki = Pki(config, clock)
    store = MemoryStore(clock)
    cache = WatchCache(store, clock)
    tasks = [asyncio.create_task(cache.run())]
    await cache.wait_for(0, 5)
    master = build(config, pki, store, cache, stopping=asyncio.Event(), clock=clock, rng=rng)
    await bootstrap(master.registry.pipeline)
    tasks.append(asyncio.create_task(master.parts.run()))
    client = LocalClient(master.registry, master.chain, components.APISERVER)
    made = Running(client, master.registry)
    for name in ("n1", "n2", "n3"):
        node = node_item(name).decode(Node)
        node.metadata = ObjectMeta(name=name, labels=node.metadata.labels)
        await made.client.create(NODES, "", codec.encode(node))
        node.status.conditions = (NodeCondition(type="Ready", status="True"),)
        status = codec.decode_plain(codec.encode(node))["status"]
        await made.client.patch(NODES, "", name, {"status": status}, subresource="status")
    tasks.append(asyncio.create_task(made.run_pods()))
    try:
        yield made
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_deployment_rolls_out_and_rolls_over(running: Running) -> None:
    body = deployment(3)
    await running.client.create(DEPLOYMENTS, "default", codec.encode(body))

    async def available() -> bool:
        status = (await running.deployment()).status
        return status.availableReplicas == status.updatedReplicas == status.replicas == 3

    await running.until(available)
    assert {pod.spec.nodeName for pod in await running.pods()} == {"n1", "n2", "n3"}
    found = await running.deployment()
    found.spec.template.spec.containers = (Container(name="c", image="v2"),)
    await running.client.update(DEPLOYMENTS, "default", "web", codec.encode(found))

    async def rolled() -> bool:
        images = {pod.spec.containers[0].image for pod in await running.pods()}
        return images == {"v2"} and await available()

    await running.until(rolled)
    assert (await running.deployment()).metadata.annotations[
        "deployment.kubernetes.io/revision"
    ] == "2"


async def test_deleting_a_deployment_deletes_its_pods(running: Running) -> None:
    await running.client.create(DEPLOYMENTS, "default", codec.encode(deployment(2)))

    async def two() -> bool:
        return len(await running.pods()) == 2

    await running.until(two)
    uid = (await running.deployment()).metadata.uid
    await running.client.delete(DEPLOYMENTS, "default", "web", uid=uid)

    async def none() -> bool:
        return not await running.pods()

    await running.until(none)


async def test_a_namespace_comes_with_what_it_needs_and_goes(running: Running) -> None:
    body = codec.encode(Namespace(metadata=ObjectMeta(name="x")))
    made = codec.decode(await running.client.create(NAMESPACES, "", body), Namespace)

    async def furnished() -> bool:
        accounts = await running.client.list(resource("serviceaccounts"), "x")
        maps = await running.client.list(resource("configmaps"), "x")
        return len(accounts.items) == len(maps.items) == 1

    await running.until(furnished)
    await running.client.delete(NAMESPACES, "", "x", uid=made.metadata.uid)

    async def gone() -> bool:
        found = await running.client.list(NAMESPACES)
        return all(codec.decode(data, Namespace).metadata.name != "x" for data in found.items)

    await running.until(gone)


async def test_a_resource_that_is_added_later_is_collected_as_others_are(running: Running) -> None:
    """As an owner, as a dependent, and with its namespace."""
    config_maps, catalogue = resource("configmaps"), running.registry.catalogue
    stored = catalogue.require(config_maps).handler
    assert isinstance(stored, Stored)
    catalogue.add(services(stored))

    async def make(what: Resource, name: str, owner: dict[str, Any] | None = None) -> Any:
        refs = []
        if owner:
            kept = {key: owner["metadata"][key] for key in ("name", "uid")}
            refs = [{"apiVersion": owner["apiVersion"], "kind": owner["kind"], **kept}]
        body = codec.encode({"metadata": {"name": name, "ownerReferences": refs}})
        return codec.decode_plain(await running.client.create(what, "default", body))

    async def names(what: Resource, namespace: str = "default") -> list[str]:
        found = await running.client.list(what, namespace)
        return [codec.decode_plain(data)["metadata"]["name"] for data in found.items]

    first = await make(SERVICES, "first")
    second = await make(config_maps, "second", first)
    await make(SERVICES, "third", second)
    uid = first["metadata"]["uid"]
    await running.client.delete(
        SERVICES, "default", "first", uid=uid, propagation_policy="Background"
    )

    async def collected() -> bool:
        return "second" not in await names(config_maps) and not await names(SERVICES)

    await running.until(collected)

    body = codec.encode(Namespace(metadata=ObjectMeta(name="y")))
    space = codec.decode(await running.client.create(NAMESPACES, "", body), Namespace)

    async def there() -> bool:
        return "y" in await names(NAMESPACES, "")

    await running.until(there)
    await running.client.create(SERVICES, "y", b'{"metadata": {"name": "last"}}')
    await running.client.delete(NAMESPACES, "", "y", uid=space.metadata.uid)

    async def gone() -> bool:
        return "y" not in await names(NAMESPACES, "") and not await names(SERVICES, "y")

    await running.until(gone)
