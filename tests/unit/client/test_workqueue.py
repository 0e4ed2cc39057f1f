"""The loop of operators over a work queue, and the handlers that fill it."""

from __future__ import annotations

import asyncio
import json

import pytest

from common.api import errors
from common.api.scheme import SCHEME
from common.client.informer import Item, item
from common.client.operator import add_owner_to, add_to
from common.client.workqueue import WorkQueue
from tests.fakes.clock import FakeClock

MAPS = SCHEME.find("configmaps")
assert MAPS is not None


def thing(name: str, owner: str = "", kind: str = "Deployment", controller: bool = True) -> Item:
    """An object, perhaps with an owner."""
    meta = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"}
    owners = [{"uid": owner, "kind": kind, "name": owner, "controller": controller}]
    plain = {"metadata": {**meta, "ownerReferences": owners if owner else []}}
    return item(json.dumps(plain).encode())


async def test_failures_come_back_later() -> None:
    """A StatusError is tried again after a while; other keys do not wait for it."""
    clock = FakeClock()
    queue = WorkQueue(clock)
    done: list[str] = []

    async def reconcile(key: str) -> None:
        done.append(key)
        if done.count("bad") < 3 and key == "bad":
            raise errors.unavailable("not now")

    working = asyncio.create_task(queue.work(reconcile))
    queue.add("bad")
    queue.add("good")
    for _ in range(100):
        await clock.advance(0.01)
        if done.count("bad") == 3:
            break
    assert sorted(done) == ["bad", "bad", "bad", "good"]
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_mistakes_end_the_work() -> None:
    """An exception that is no answer of the API is not hidden by trying again."""
    queue = WorkQueue(FakeClock())

    async def reconcile(key: str) -> None:
        raise KeyError(key)

    queue.add("x")
    with pytest.raises(KeyError):
        await queue.work(reconcile)


async def test_timers_set_while_one_runs() -> None:
    """Each comes when it is due, also one that is due before the one that was waited for."""
    clock = FakeClock()
    queue = WorkQueue(clock)
    came: list[tuple[str, float]] = []
    start = clock.monotonic()

    async def reconcile(key: str) -> None:
        came.append((key, clock.monotonic() - start))

    working = asyncio.create_task(queue.work(reconcile))
    for key, delay_seconds in (("middle", 5), ("late", 9), ("soon", 2), ("late", 8), ("late", 12)):
        queue.add_after(key, delay_seconds)
        await clock.advance(0)
    for _ in range(20):
        await clock.advance(1)
    assert came == [("soon", 2), ("middle", 5), ("late", 8)]
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_handlers_find_keys() -> None:
    """The object's own key, or that of the owner that controls it, before and after."""
    assert MAPS is not None
    queue = WorkQueue(FakeClock())
    add_to(queue)(MAPS, thing("gone"), None)
    assert await queue.get() == "default/gone"
    handle = add_owner_to(queue, "Deployment")
    handle(MAPS, thing("a", "old"), thing("a", "new"))
    assert {await queue.get(), await queue.get()} == {"default/old", "default/new"}
    handle(MAPS, None, thing("a", "other", kind="ReplicaSet"))
    handle(MAPS, None, thing("a", "other", controller=False))
    handle(MAPS, None, thing("a"))
    assert len(queue) == 0
