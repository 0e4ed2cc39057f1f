"""The runner on an API in memory: lag, lost answers, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from common.api import errors
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.types.core_v1 import Node, Pod, PodSpec, PodStatus
from common.api.types.meta_v1 import ObjectMeta
from common.client.api import ObjectList
from common.client.commands import Command
from common.client.events import Correlator, EventRecorder
from common.client.informer import Informer, Item
from common.client.informers import Informers
from master.controllers.base import Controller, ControllerRunner, View
from master.controllers.lib.resources import NODES, PODS, REPLICA_SETS
from master.controllers.nodes.podgc import PodGarbageCollector
from master.controllers.workloads.replicaset import ReplicaSetController
from tests.component.controllers.fakeapi import FakeApi
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng
from tests.unit.controllers.test_replicaset import replica_set


class Same(SeededRng):
    """Gives the same suffix twice before another."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []

    def suffix(self, length: int = 5) -> str:
        if len(self.given) % 2:
            self.given.append(self.given[-1])
        else:
            self.given.append(super().suffix(length))
        return self.given[-1]


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@asynccontextmanager
async def running(
    api: FakeApi,
    controller: Controller | None = None,
    resources: Sequence[Resource] = (PODS, REPLICA_SETS),
) -> AsyncIterator[FakeClock]:
    """A controller at work, the ReplicaSets' when none is named."""
    clock = FakeClock()
    informers = {
        r.group_resource: Informer(api, r, clock=clock, rng=SeededRng()) for r in resources
    }
    controller = controller or ReplicaSetController()
    recorder = EventRecorder(api, Correlator(f"{controller.name}-controller"), clock=clock)
    runner = ControllerRunner(
        controller, Informers(informers), api, recorder, clock=clock, rng=Same()
    )
    works = [runner.run(), recorder.run(), *(informer.run() for informer in informers.values())]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield clock
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(clock: FakeClock, condition: Callable[[], bool]) -> None:
    """Let time pass in small steps until something is so."""
    for _ in range(2000):
        if condition():
            return
        await clock.advance(0.05)
    raise AssertionError("it never came to be")


async def test_creates_pods_with_names_of_their_own_and_tells_them(api: FakeApi) -> None:
    api.put(replica_set(3), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: len(api.find(PODS)) == 3)
        await clock.advance(5)
        assert len(api.find(PODS)) == 3
        names = {pod["metadata"]["name"] for pod in api.find(PODS)}
        events = [o for key, o in api.objects.items() if key[0] == "events"]
        assert {event["message"] for event in events} == {f"Created pod: {n}" for n in names}
        assert {event["source"]["component"] for event in events} == {"replicaset-controller"}


async def test_does_not_create_again_while_the_informer_lags(api: FakeApi) -> None:
    api.put(replica_set(2), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: api.find(REPLICA_SETS) != [])
        api.show("pods", api.revision)
        await until(clock, lambda: len(api.find(PODS)) == 2)
        wanted = replica_set(2)
        wanted.metadata.labels = {"touched": "yes"}
        wanted.metadata.uid = api.find(REPLICA_SETS)[0]["metadata"]["uid"]
        api.put(wanted, REPLICA_SETS)
        await clock.advance(5)
        assert len(api.find(PODS)) == 2
        api.show("pods")
        await until(clock, lambda: api.find(REPLICA_SETS)[0]["status"].get("replicas") == 2)
        assert len(api.find(PODS)) == 2


async def test_does_not_delete_another_while_the_informer_lags(api: FakeApi) -> None:
    """Just before a pod is deleted another one becomes the cheapest; only that is seen."""
    cheap = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-9"}}}
    changed: list[int] = []

    def interfere(verb: str, name: str) -> StatusError | None:
        if verb == "delete" and not changed:
            other = next(key for key in api.objects if key[0] == "pods" and key[2] != name)
            api.change(other, cheap)
            changed.append(api.revision)
            api.show("pods", api.revision)
        return None

    api.put(replica_set(3), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: len(api.find(PODS)) == 3)
        await clock.advance(1)
        api.before = interfere
        smaller = replica_set(2)
        smaller.metadata.uid = api.find(REPLICA_SETS)[0]["metadata"]["uid"]
        api.put(smaller, REPLICA_SETS)
        await until(clock, lambda: len(api.find(PODS)) == 2)
        await clock.advance(5)
        assert changed
        assert len(api.find(PODS)) == 2
        api.show("pods")
        await clock.advance(5)
        assert len(api.find(PODS)) == 2


async def test_an_answer_that_was_lost_is_looked_up(api: FakeApi) -> None:
    lost = [errors.timeout("no answer")]
    api.after = lambda verb, name: lost.pop() if verb == "create" and lost else None
    api.put(replica_set(1), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: not lost)
        await clock.advance(10)
        assert len(api.find(PODS)) == 1


async def test_a_create_that_did_not_happen_is_tried_again(api: FakeApi) -> None:
    lost = [errors.unavailable("down")]
    api.before = lambda verb, name: lost.pop() if verb == "create" and lost else None
    api.put(replica_set(1), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: len(api.find(PODS)) == 1)


async def test_a_refusal_is_in_the_status_until_it_is_over(api: FakeApi) -> None:
    refusing = [True]

    def refuse(verb: str, name: str) -> StatusError | None:
        wanted = refusing and verb == "create" and name.startswith("web-")
        return errors.forbidden_request(PODS, name, "exceeded quota") if wanted else None

    def conditions() -> list[str]:
        status = api.find(REPLICA_SETS)[0].get("status", {})
        return [condition["reason"] for condition in status.get("conditions", [])]

    api.before = refuse
    api.put(replica_set(1), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: conditions() == ["FailedCreate"])
        refusing.clear()
        await until(clock, lambda: len(api.find(PODS)) == 1 and not conditions())


async def test_conflicts_come_to_an_end(api: FakeApi) -> None:
    conflicts = [errors.conflict(REPLICA_SETS, "web", "x") for _ in range(3)]
    api.before = lambda verb, name: conflicts.pop() if verb == "update" and conflicts else None
    api.put(replica_set(1), REPLICA_SETS)
    async with running(api) as clock:
        await until(clock, lambda: len(api.find(PODS)) == 1)
        assert conflicts == []


async def test_what_a_controller_deletes_it_also_sees_go(api: FakeApi) -> None:
    """The collector of pods makes keys of nodes only, and goes on after its first deletion."""
    old = "2020-01-01T00:00:00Z"
    for number in (1, 2):
        api.put(Node(metadata=ObjectMeta(name=f"n{number}")), NODES)
        meta = ObjectMeta(
            name=f"p{number}", namespace="default", uid=f"u{number}", creationTimestamp=old
        )
        spec = PodSpec(nodeName=f"n{number}")
        api.put(Pod(metadata=meta, spec=spec, status=PodStatus(phase="Running")), PODS)
    async with running(api, PodGarbageCollector(), (PODS, NODES)) as clock:
        for number in (1, 2):
            api.remove(NODES, "", f"n{number}")
            await until(clock, lambda left=2 - number: len(api.find(PODS)) == left)  # type: ignore[misc]


async def test_an_object_that_a_handler_cannot_read_keeps_it_from_no_other(api: FakeApi) -> None:
    told = []

    def handler(resource: Resource, old: Item | None, new: Item | None) -> None:
        assert new is not None
        if new.name == "odd":
            raise ValueError("not a quantity")
        told.append(new.name)

    informer = Informer(api, NODES, clock=FakeClock(), rng=SeededRng())
    informer.add_handler(handler)
    for name in ("a", "odd"):
        api.put(Node(metadata=ObjectMeta(name=name)), NODES)
    running = asyncio.create_task(informer.run())
    await informer.synced.wait()
    api.put(Node(metadata=ObjectMeta(name="z")), NODES)
    await informer.wait_for(api.revision)
    running.cancel()
    assert told == ["a", "z"]


async def test_informers_do_not_ask_again_in_the_same_instant(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked, count = FakeClock(), list[float](), 20

    async def away(*_: object, **options: object) -> ObjectList:
        asked.append(clock.monotonic())
        raise errors.unavailable("the master is away")

    monkeypatch.setattr(api, "list", away)
    informers = [Informer(api, NODES, clock=clock, rng=SeededRng(n)) for n in range(count)]
    tasks = [asyncio.create_task(one.run()) for one in informers]
    await clock.advance(5.0)
    for task in tasks:
        task.cancel()
    again = asked[count:]
    assert len(again) > 3 * count
    assert len(set(again)) == len(again)


class Slow(PodGarbageCollector):
    """Takes two seconds for each decision about the one key that every pod makes."""

    watches = ("pods",)

    clock: FakeClock
    decisions = 0

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        return ["all"]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        self.decisions += 1
        self.clock.pass_at_once(2.0)
        return []


async def test_a_key_that_takes_long_leaves_time_for_others(api: FakeApi) -> None:
    """Pods of a large service come one by one: each would be a reason to look at all of them."""
    controller = Slow()
    async with running(api, controller) as clock:
        controller.clock = clock
        for number in range(200):
            api.put(Pod(metadata=ObjectMeta(name=f"p{number}", namespace="default")), PODS)
            await clock.advance(0.5)
        assert 4 <= controller.decisions <= 6
        await clock.advance(100)
        assert controller.decisions <= 7, "what was asked for while it rested is done, once"
