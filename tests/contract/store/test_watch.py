"""Watches: ordered, unique, reliable, resumable, or Compacted; and keys that expire."""

import asyncio
import random
from contextlib import aclosing

import pytest

from common.runtime.clock import SystemClock
from master.storage.etcd import EtcdStore
from master.storage.memory import MemoryStore
from master.storage.store import (
    Allocation,
    Change,
    Compacted,
    Guard,
    KeyValue,
    Store,
    StoreError,
)
from tests.contract.store.watching import changes

PODS = "/wherry/registry/pods/"
A, B = PODS + "default/a", PODS + "default/b"


async def test_watch_from_a_revision_tells_history_and_what_follows(store: Store) -> None:
    first = await store.create(A, b"1")
    second = await store.update(A, b"2", expected_revision=first)
    third = await store.delete(A, expected_revision=second)
    expected = [
        Change(A, b"1", first, None),
        Change(A, b"2", second, KeyValue(A, b"1", first, first)),
        Change(A, None, third, KeyValue(A, b"2", first, second)),
    ]
    assert await changes(store, PODS, first, 3) == expected
    assert await changes(store, PODS, second, 2) == expected[1:]

    live = asyncio.create_task(changes(store, PODS, third, 2))
    fourth = await store.create(B, b"1")
    assert await live == [expected[2], Change(B, b"1", fourth, None)]
    assert expected[1].current == KeyValue(A, b"2", first, second)


async def test_watch_sees_its_prefix_only(store: Store) -> None:
    start = await store.create(PODS + "ab/x", b"1", allocate=[Allocation("/wherry/alloc/x", "a")])
    await store.create("/wherry/registry/pods0/x", b"1")
    last = await store.create(PODS + "a/x", b"1")
    assert [one.revision for one in await changes(store, PODS, start, 2)] == [start, last]
    assert [one.key for one in await changes(store, PODS + "a/", start, 1)] == [PODS + "a/x"]


async def test_changes_of_one_revision_come_together(store: Store) -> None:
    start = await store.create(A, b"1", allocate=[Allocation(B, "x")])
    async with aclosing(store.watch(PODS, start_revision=start)) as batches:
        batch = await anext(batches)
    assert sorted(one.key for one in batch) == [A, B]


async def test_many_changes_are_ordered_and_unique(store: Store) -> None:
    first = await store.revision() + 1
    live = asyncio.create_task(changes(store, PODS, first, 2_000))
    for group in range(20):
        names = [f"{PODS}n{group}/p{n}" for n in range(100)]
        await asyncio.gather(*(store.create(name, b"x") for name in names))
    revisions = [one.revision for one in await live]
    assert revisions == sorted(set(revisions))
    assert [one.revision for one in await changes(store, PODS, first, 2_000)] == revisions


async def test_watch_behind_compaction_ends(store: Store) -> None:
    first = await store.create(A, b"1")
    second = await store.update(A, b"2", expected_revision=first)
    async with aclosing(store.watch(PODS, start_revision=second)) as live:
        assert (await anext(live))[0].revision == second
        third = await store.update(A, b"3", expected_revision=second)
        assert (await anext(live))[0].revision == third
        await store.compact(third)
        fourth = await store.delete(A, expected_revision=third)
        assert (await anext(live))[0] == Change(A, None, fourth, KeyValue(A, b"3", first, third)), (
            "a watch that has kept up survives"
        )
    with pytest.raises(Compacted):
        await changes(store, PODS, first, 1)
    assert len(await changes(store, PODS, third + 1, 1)) == 1


async def test_watch_ends_where_the_store_is_yet_to_come_to(store: Store) -> None:
    """It was restored, and what happens until then would be missed."""
    last = await store.create(A, b"1")
    waits = asyncio.create_task(changes(store, PODS, last + 1, 1))
    with pytest.raises(Compacted):
        await changes(store, PODS, last + 2, 1)
    await store.create(B, b"1")
    assert [one.key for one in await waits] == [B]


async def test_expired_keys_are_deleted_for_watchers(store: Store) -> None:
    created = await store.create(A, b"1", ttl_seconds=1)
    updated = await store.update(A, b"2", expected_revision=created)
    kept = await store.create(B, b"1")
    found = await changes(store, PODS, created, 4)
    assert found[2].revision == kept
    assert (found[3].key, found[3].value) == (A, None)
    assert found[3].previous == KeyValue(A, b"2", created, updated)
    assert (await store.get(A))[0] is None


async def test_a_new_time_to_live_replaces_the_old_one(store: Store) -> None:
    created = await store.create(A, b"1", ttl_seconds=1)
    await store.update(A, b"2", expected_revision=created, ttl_seconds=3_600)
    await store.create(B, b"1", ttl_seconds=2)
    gone = (await changes(store, PODS, created, 4))[3]
    assert gone.key == B, "the shorter life of A would have ended first"


@pytest.mark.etcd
@pytest.mark.parametrize("seed", range(3))
async def test_memory_answers_as_etcd_does(seed: int, etcd_store: EtcdStore) -> None:
    """The same random operations have the same outcomes, revisions and history on both."""
    memory = MemoryStore(SystemClock())
    offset = await etcd_store.revision() - await memory.revision()
    outcomes = [
        await _drive(store, seed, base) for store, base in ((etcd_store, offset), (memory, 0))
    ]
    assert outcomes[0] == outcomes[1]
    assert len({str(one).split("(")[0] for one in outcomes[0]}) > 5


async def _drive(store: Store, seed: int, base: int) -> list[object]:
    chance = random.Random(seed)
    keys = [f"{PODS}n{number}/p" for number in range(4)]
    addresses = [f"/wherry/alloc/ips/{number}" for number in range(3)]
    outcomes: list[object] = []
    for step in range(150):
        key, other = chance.sample(keys, 2)
        address, released = chance.sample(addresses, 2)
        guards = [Guard(other, chance.choice(["exists", "absent"]))] if step % 5 == 0 else []
        allocate = [Allocation(address, key)] if step % 2 else []
        release = [released] if step % 3 else []
        stale = chance.random() < 0.1
        current, _ = await store.get(key)
        expected = current.revision - stale if current else 1
        try:
            match chance.choice(["create", "update", "delete"]):
                case "create":
                    done = await store.create(key, b"%d" % step, guards=guards, allocate=allocate)
                case "update":
                    done = await store.update(
                        key,
                        b"%d" % step,
                        expected_revision=expected,
                        guards=guards,
                        allocate=allocate,
                        release=release,
                    )
                case _:
                    done = await store.delete(
                        key, expected_revision=expected, guards=guards, release=release
                    )
            outcomes.append(done - base)
        except StoreError as error:
            outcomes.append(type(error).__name__)
    count = sum(isinstance(one, int) for one in outcomes)
    history = await changes(store, PODS, base + 1, count)
    return [*outcomes, *((c.key, c.value, c.revision - base, c.previous is None) for c in history)]
