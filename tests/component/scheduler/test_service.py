"""The scheduler's shell on an API in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from common.api import errors
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types import Quantity
from common.api.types.core_v1 import (
    ContainerStatus,
    Node,
    Pod,
    PodSchedulingGate,
    ResourceRequirements,
)
from common.client.events import Correlator, EventRecorder
from common.client.informer import Informer, Item
from master.scheduler.service import Scheduler
from tests.component.controllers.fakeapi import FakeApi
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng
from tests.unit.scheduler.world import node_item, pod_item


def resource(plural: str) -> Resource:
    found = SCHEME.resource("", "v1", plural)
    assert found is not None
    return found


PODS, NODES = resource("pods"), resource("nodes")
NAMESPACES = resource("namespaces")


class World:
    """A running scheduler."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = FakeClock()

    def node(self, name: str, **more: Any) -> None:
        self.api.put(node_item(name, **more).decode(Node), NODES)

    def pod(self, name: str, **more: Any) -> None:
        self.api.put(pod_item(name, **more).decode(Pod), PODS)

    def events(self) -> set[tuple[str, str]]:
        return {
            (o["reason"], o["message"]) for key, o in self.api.objects.items() if key[0] == "events"
        }

    def conditions(self, name: str) -> list[dict[str, Any]]:
        found = self.api.objects[("pods", "default", name)]
        return list(found.get("status", {}).get("conditions", []))

    async def until(self, condition: Callable[[], object]) -> None:
        for _ in range(1000):
            if condition():
                return
            await self.clock.advance(0.1)
        raise AssertionError("it never came to be")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with running(made):
        yield made


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    api, clock = world.api, world.clock
    informers = {
        r.group_resource: Informer(api, r, clock=clock, rng=SeededRng())
        for r in (NAMESPACES, PODS, NODES)
    }
    recorder = EventRecorder(api, Correlator("default-scheduler"), clock=clock)
    scheduler = Scheduler(api, informers, recorder, clock=clock)
    works = [scheduler.run(), recorder.run(), *(i.run() for i in informers.values())]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        assert not any(task.done() for task in tasks), "the scheduler has ended"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_binds_and_tells(world: World) -> None:
    world.node("n1")
    world.pod("p")
    await world.until(lambda: world.api.bound == {"p": "n1"})
    await world.until(
        lambda: ("Scheduled", "Successfully assigned default/p to n1") in world.events()
    )


async def test_many_pods_fill_the_nodes_and_no_more(world: World) -> None:
    for number in range(3):
        world.node(f"n{number}", cpu="1")
    for number in range(40):
        world.pod(f"p{number}", cpu="100m")
    await world.until(lambda: len(world.api.bound) == 30)
    await world.clock.advance(5)
    load = list(world.api.bound.values())
    assert [load.count(f"n{number}") for number in range(3)] == [10, 10, 10]


async def test_what_does_not_fit_is_explained_and_waits_for_a_cure(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("p", cpu="2")
    text = "0/1 nodes are available: 1 Insufficient cpu."
    await world.until(lambda: ("FailedScheduling", text) in world.events())
    await world.until(lambda: world.conditions("p"))
    (condition,) = world.conditions("p")
    assert (condition["type"], condition["status"]) == ("PodScheduled", "False")
    assert (condition["reason"], condition["message"]) == ("Unschedulable", text)
    world.node("n2", cpu="4")
    await world.until(lambda: world.api.bound == {"p": "n2"})


async def test_no_nodes_at_all(world: World) -> None:
    world.pod("p")
    text = "no nodes available to schedule pods"
    await world.until(lambda: ("FailedScheduling", text) in world.events())
    world.node("n1")
    await world.until(lambda: world.api.bound == {"p": "n1"})


async def test_room_that_is_given_back_is_used(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("old", cpu="1")
    await world.until(lambda: "old" in world.api.bound)
    world.pod("new", cpu="1")
    await world.until(lambda: world.conditions("new"))
    world.api.remove(PODS, "default", "old")
    await world.until(lambda: world.api.bound.get("new") == "n1")


async def test_a_finished_pod_gives_its_room_back(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("old", cpu="1", node="n1", phase="Running")
    world.pod("new", cpu="1")
    await world.until(lambda: world.conditions("new"))
    world.pod("old", cpu="1", node="n1", phase="Succeeded")
    await world.until(lambda: world.api.bound.get("new") == "n1")


async def test_what_a_resized_pod_gives_back_is_used_once_its_kubelet_has_it(
    world: World,
) -> None:
    world.node("n1", cpu="1")
    world.pod("old", cpu="1", node="n1", phase="Running")
    world.pod("new", cpu="800m")
    await world.until(lambda: world.conditions("new"))

    def resized(has: str) -> None:
        made = pod_item("old", cpu="200m", node="n1", phase="Running").decode(Pod)
        made.metadata.generation = 2
        amounts = {"cpu": Quantity(has)}
        status = ContainerStatus(
            name="c",
            allocatedResources=amounts,
            resources=ResourceRequirements(requests=amounts),
        )
        made.status.containerStatuses = (status,)
        world.api.put(made, PODS)

    resized("1")
    await world.clock.advance(30)
    assert "new" not in world.api.bound
    resized("200m")
    await world.until(lambda: world.api.bound.get("new") == "n1")


async def test_a_refused_binding_is_forgotten_and_tried_again(world: World) -> None:
    refusals = [errors.unavailable("down"), errors.internal("no")]
    world.api.before = lambda verb, name: refusals.pop() if verb == "bind" and refusals else None
    world.node("n1", cpu="1")
    world.pod("p", cpu="1")
    await world.until(lambda: world.api.bound == {"p": "n1"})
    assert refusals == []


async def test_pods_of_others_are_left_alone(world: World) -> None:
    world.node("n1")
    world.pod("other", schedulerName="mine")
    world.pod("gated", schedulingGates=(PodSchedulingGate(name="g"),))
    world.pod("going", deleting=True)
    world.pod("p")
    await world.until(lambda: "p" in world.api.bound)
    await world.clock.advance(5)
    assert set(world.api.bound) == {"p"}
    world.pod("gated")
    await world.until(lambda: "gated" in world.api.bound)


async def test_a_pod_that_is_deleted_and_made_anew(world: World) -> None:
    world.node("n1", cpu="1")
    world.pod("p", cpu="1")
    await world.until(lambda: "p" in world.api.bound)
    world.api.remove(PODS, "default", "p")
    world.api.bound.clear()
    again: Item = pod_item("p", cpu="1")
    body = again.decode(Pod)
    body.metadata.uid = "another"
    world.api.put(body, PODS)
    await world.until(lambda: world.api.bound == {"p": "n1"})
    assert msgspec.json.encode(world.api.objects[("pods", "default", "p")])
