"""What admission is shown: as the old object what is stored, whatever a client sends (G29)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.api.types.core_v1 import ConfigMap, Container, Namespace, Pod
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.admission import Admission
from master.apiserver.registry.pipeline import Change
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock

PODS = SCHEME.require("", "v1", "pods")
CONFIG_MAPS = SCHEME.require("", "v1", "configmaps")
ONE = Target(CONFIG_MAPS, "n", "c")
CONTEXT = Context(user=Identity("bob"))
maps = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


def becoming(state: dict[str, str]) -> Change:
    """What a client sends in place of whatever is there."""
    return lambda _: ConfigMap(metadata=ObjectMeta(name="c", namespace="n"), data=dict(state))


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[MemoryStore, WatchCache, FakeClock]]:
    """A store with the namespace n, and a cache that follows it."""
    clock = FakeClock()
    store = MemoryStore(clock)
    cache = WatchCache(store, clock)
    task = asyncio.create_task(cache.run())
    await store.create(registry_key("namespaces", "n"), codec.encode(Namespace()))
    await cache.wait_for(await store.revision(), 5.0)
    yield store, cache, clock
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@given(st.lists(maps, min_size=1, max_size=5))
async def test_admission_is_shown_what_is_stored(states: list[dict[str, str]]) -> None:
    seen: list[dict[str, str] | None] = []

    async def look(ctx: Context, target: Target, new: Any, old: Any) -> None:
        seen.append(dict(old.data) if old is not None else None)
        if old is not None:
            old.data.clear()  # nor can a plugin spoil it for the next one

    async with running() as (store, cache, clock):
        pipeline = fakes.pipeline(store, cache, clock, Admission(mutating=[look]))
        made = ConfigMap(metadata=ObjectMeta(name="c"), data={"k": "first"})
        await pipeline.create(CONTEXT, ONE._replace(name=""), made)
        stored = {"k": "first"}
        for state in states:
            seen.clear()
            await pipeline.update(CONTEXT, ONE, becoming(state))
            assert seen[-1] == stored
            found = codec.decode((await pipeline.read(ONE)).value, ConfigMap)
            assert found.data == state
            stored = state


async def test_what_admission_adds_is_completed_and_prepared() -> None:
    """It is shown defaults, what it adds gets them, and no more than a client can it set a status;
    validating admission is shown what is stored.
    """
    shown: list[Any] = []

    async def add_a_sidecar(ctx: Context, target: Target, new: Any, old: Any) -> None:
        shown.append([one.imagePullPolicy for one in new.spec.containers])
        new.spec.containers = (*new.spec.containers, Container(name="sidecar", image="b:2"))
        new.status.phase = "Running"

    async def look(ctx: Context, target: Target, new: Any, old: Any) -> None:
        shown.append(codec.encode(new))

    async with running() as (store, cache, clock):
        pipeline = fakes.pipeline(store, cache, clock, Admission([add_a_sidecar], [look]))
        sent = Pod(metadata=ObjectMeta(name="p"))
        sent.spec.containers = (Container(name="app", image="a"),)
        data = await pipeline.create(CONTEXT, Target(PODS, "n"), sent)
        made = codec.decode(data, Pod)
        assert shown[0] == ["Always"]
        assert [one.imagePullPolicy for one in made.spec.containers] == ["Always", "IfNotPresent"]
        assert made.status.phase == "Pending"
        assert shown[1] == (await pipeline.read(Target(PODS, "n", "p"))).value
