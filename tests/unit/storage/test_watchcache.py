"""The watch cache on a store in memory."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from master.storage.entry import CacheEvent, with_resource_version
from master.storage.keys import registry_key, registry_prefix
from master.storage.memory import MemoryStore
from master.storage.store import Compacted, StoreError
from master.storage.subscription import (
    MAX_QUEUED_EVENTS,
    CacheStopped,
    Subscription,
    TooOld,
    TooSlow,
)
from master.storage.watchcache import NotYet, StoreRestored, WatchCache
from tests.fakes.clock import FakeClock

PODS = registry_prefix("pods")


class GatedStore(MemoryStore):
    """A store whose watches can be held back, so that compaction overtakes them."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0

    async def _next_change(self) -> None:
        await super()._next_change()
        await self.gate.wait()

    async def revision(self) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        return await super().revision()

    def restore(self) -> None:
        """Be as it was in the beginning."""
        self._revision = 1
        self._current.clear()
        self._history.clear()
        self._wake()

    async def put(self, name: str, namespace: str = "a", labels: str = "") -> int:
        """Create or change a pod."""
        key = pod(name, namespace)
        value = (
            f'{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":'
            f'"{namespace}","uid":"uid-{name}","labels":{{"app":"{labels}"}},"ownerReferences":['
            '{"uid":"o1"},{"uid":"o2","controller":true}]},"spec":{"metadata":{}}}'
        ).encode()
        current, _ = await self.get(key)
        if current is None:
            return await self.create(key, value)
        return await self.update(key, value, expected_revision=current.revision)

    async def remove(self, name: str, namespace: str = "a") -> int:
        """Delete a pod."""
        current, _ = await self.get(pod(name, namespace))
        assert current is not None
        return await self.delete(current.key, expected_revision=current.revision)


def pod(name: str, namespace: str = "a") -> str:
    return registry_key("pods", name, namespace)


@pytest.fixture
async def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
async def cache(store: GatedStore) -> AsyncIterator[WatchCache]:
    """A running cache; start it with `await cache.wait_for(...)`."""
    cache = WatchCache(store, FakeClock())
    running = asyncio.create_task(cache.run())
    yield cache
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def synced(cache: WatchCache, store: GatedStore) -> WatchCache:
    await cache.wait_for(await MemoryStore.revision(store), 5)
    return cache


def told(events: list[CacheEvent]) -> list[tuple[str, str, int]]:
    return [(event.type, event.entry.name, event.entry.revision) for event in events]


async def test_entries(store: GatedStore, cache: WatchCache) -> None:
    first = await store.put("web", labels="x")
    await synced(cache, store)
    assert cache.ready and cache.revision == first
    entry = cache.get(pod("web"))
    assert entry is not None
    assert (entry.namespace, entry.name, entry.uid) == ("a", "web", "uid-web")
    assert entry.labels == {"app": "x"}
    second = await store.put("web", labels="y")
    await synced(cache, store)
    changed = cache.get(pod("web"))
    assert changed is not None and changed.labels == {"app": "y"}
    assert (changed.revision, changed.create_revision) == (second, first)
    found = json.loads(changed.data)
    assert found["metadata"]["resourceVersion"] == str(second)
    assert found["spec"] == {"metadata": {}}
    assert json.loads(entry.data)["metadata"]["resourceVersion"] == str(first)


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (b'{"metadata":{}}', b'{"metadata":{"resourceVersion":"7"}}'),
        (b'{"metadata":{"a":1}}', b'{"metadata":{"resourceVersion":"7","a":1}}'),
        (b"junk", b"junk"),
    ],
)
def test_resource_version_is_spliced_in(stored: bytes, sent: bytes) -> None:
    assert with_resource_version(stored, 7) == sent


async def test_lists_are_sorted_and_of_whole_segments(store: GatedStore, cache: WatchCache) -> None:
    for namespace, name in [("ab", "x"), ("a", "z"), ("b", "c"), ("a", "b"), ("a-b", "y")]:
        await store.put(name, namespace)
    await store.create(registry_key("nodes", "n1"), b"{}")
    await store.create(registry_key("podtemplates", "n1", "a"), b"{}")
    await synced(cache, store)
    assert [e.key for e in cache.list(registry_prefix("pods", "a"))] == [pod("b"), pod("z")]
    every = [entry.key for entry in cache.list(PODS)]
    assert len(every) == 5 and every == sorted(every)
    (node,) = cache.list(registry_prefix("nodes"))
    assert (node.namespace, node.name, node.uid, node.labels) == ("", "n1", "", {})
    assert cache.list(registry_prefix("none")) == []
    await store.remove("z")
    await synced(cache, store)
    assert [e.name for e in cache.list(registry_prefix("pods", "a"))] == ["b"]
    assert cache.get(pod("z")) is None


async def test_watch_tells_history_then_news(store: GatedStore, cache: WatchCache) -> None:
    await store.put("old")
    await synced(cache, store)
    start = cache.revision
    one = await store.put("web")
    await store.put("other", "ab")
    two = await store.put("web")
    await synced(cache, store)
    with cache.watch(registry_prefix("pods", "a"), start) as subscription:
        events = await anext(subscription)
        assert told(events) == [("ADDED", "web", one), ("MODIFIED", "web", two)]
        assert events[1].previous is events[0].entry
        three = await store.remove("web")
        gone = await anext(subscription)
        assert told(gone) == [("DELETED", "web", three)]
        assert json.loads(gone[0].entry.data)["metadata"]["resourceVersion"] == str(three)
        assert gone[0].previous is events[1].entry
    with cache.watch(PODS, two) as again:
        assert told(await anext(again)) == [("DELETED", "web", three)]


async def test_watch_refuses_what_history_does_not_hold(
    store: GatedStore, cache: WatchCache
) -> None:
    with pytest.raises(TooOld):
        WatchCache(store, FakeClock()).watch(PODS, 1)
    await synced(cache, store)
    second = await store.put("web")
    await synced(cache, store)
    with pytest.raises(TooOld):
        cache.watch(PODS, 0)
    cache.watch(PODS, second).close()
    for _ in range(1_001):
        await store.put("web")
    await synced(cache, store)
    with pytest.raises(TooOld):
        cache.watch(PODS, second)
    with cache.watch(PODS, second + 1) as subscription:
        assert len(await anext(subscription)) == 1_000


async def test_a_store_that_was_restored_ends_the_cache(store: GatedStore) -> None:
    """And its readers with it."""
    cache = WatchCache(store, FakeClock())
    running = asyncio.create_task(cache.run())
    await store.put("web")
    await store.put("web")
    await synced(cache, store)
    with cache.watch(PODS, cache.revision) as subscription:
        store.restore()
        with pytest.raises(StoreRestored, match="its revision was 3 and is 1"):
            await running
        with pytest.raises(CacheStopped):
            await anext(subscription)


async def test_total_history_is_bounded(
    store: GatedStore, cache: WatchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.storage.watchcache.TOTAL_HISTORY_EVENTS", 50)
    await synced(cache, store)
    start = cache.revision
    quiet = await store.create(registry_key("nodes", "n1"), b"{}")
    for _ in range(100):
        await store.put("web")
        await synced(cache, store)
    held = sum(len(resource.history) for resource in cache._resources.values())
    assert held == cache._history_events <= 50
    with cache.watch(registry_prefix("nodes"), start) as subscription:
        assert told(await anext(subscription)) == [("ADDED", "n1", quiet)]
    with pytest.raises(TooOld):
        cache.watch(PODS, start)


async def test_history_is_bounded_by_its_size(
    store: GatedStore, cache: WatchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few large objects must not be kept a thousand times."""
    monkeypatch.setattr("master.storage.watchcache.TOTAL_HISTORY_BYTES", 10_000)
    await synced(cache, store)
    start, key = cache.revision, registry_key("configmaps", "a", "n")
    revision = await store.create(key, b"x" * 900)
    for _ in range(100):
        revision = await store.update(key, b"x" * 900, expected_revision=revision)
    await store.delete(key, expected_revision=revision)
    await synced(cache, store)
    kept = [event for one in cache._resources.values() for event in one.history]
    assert 5 < len(kept) == cache._history_events <= 12
    assert kept[-1].type == "DELETED"
    with pytest.raises(TooOld):
        cache.watch(registry_prefix("configmaps"), start)


async def test_bookmark_revision_follows_the_whole_cache(
    store: GatedStore, cache: WatchCache
) -> None:
    await synced(cache, store)
    with cache.watch(PODS, cache.revision) as subscription:
        elsewhere = await store.create(registry_key("nodes", "n1"), b"{}")
        await synced(cache, store)
        assert subscription.revision == elsewhere
        here = await store.put("web")
        leader = await store.create("/wherry/leader", b"me")
        await synced(cache, store)
        assert cache.revision == leader, "every revision counts, also those of other keys"
        assert subscription.revision < here
        await anext(subscription)
        assert subscription.revision == leader


async def drain(subscription: Subscription) -> int:
    """How many events come before the end."""
    count = 0
    while True:
        count += len(await anext(subscription))


async def test_slow_reader_is_cut_off_and_others_are_not(
    store: GatedStore, cache: WatchCache
) -> None:
    await synced(cache, store)
    slow, quick = cache.watch(PODS, cache.revision), cache.watch(PODS, cache.revision)
    seen = 0
    for _ in range(1_001):
        await store.put("web")
        seen += len(await anext(quick))
    with pytest.raises(TooSlow):
        await drain(slow)
    assert seen == 1_001
    quick.close()
    assert not cache._resources["pods"].subscriptions


async def test_reader_is_cut_off_by_bytes_too(store: GatedStore, cache: WatchCache) -> None:
    await synced(cache, store)
    slow = cache.watch(PODS, cache.revision)
    for number in range(9):
        await store.create(pod(f"p{number}"), b'{"metadata":{' + b" " * 1_000_000 + b"}}")
        await synced(cache, store)
    with pytest.raises(TooSlow):
        await drain(slow)


class Taker:
    """A receiver that takes events for as long as it may."""

    def __init__(self) -> None:
        self.taken: list[CacheEvent] = []
        self.answer = True
        self.fault: Exception | None = None
        self.ends = 0

    def take(self, events: Sequence[CacheEvent]) -> bool:
        """Take all or nothing."""
        if self.fault is not None:
            raise self.fault
        if self.answer:
            self.taken += events
        return self.answer

    def cut_off(self) -> None:
        """Count."""
        self.ends += 1


async def waiting(subscription: Subscription) -> asyncio.Task[list[CacheEvent]]:
    """A reader that waits for events."""
    reader = asyncio.create_task(anext(subscription))
    while subscription._wake is None:
        await asyncio.sleep(0)
    return reader


async def test_receiver_takes_what_happens_while_the_reader_waits(
    store: GatedStore, cache: WatchCache
) -> None:
    await synced(cache, store)
    taker = Taker()
    with cache.watch(PODS, cache.revision, receiver=taker) as subscription:
        first = await store.put("first")
        await synced(cache, store)
        assert not taker.taken, "nobody waits yet"
        assert [event.entry.revision for event in await anext(subscription)] == [first]
        reader = await waiting(subscription)
        second = await store.put("second")
        await synced(cache, store)
        assert [event.entry.revision for event in taker.taken] == [second]
        assert subscription.revision == second, "what was taken is handed out"
        assert not reader.done()
        reader.cancel()


@pytest.mark.parametrize("fault", [None, ValueError("not its day")])
async def test_what_a_receiver_does_not_take_is_read(
    store: GatedStore, cache: WatchCache, fault: Exception | None
) -> None:
    await synced(cache, store)
    taker = Taker()
    taker.answer, taker.fault = False, fault
    with cache.watch(PODS, cache.revision, receiver=taker) as subscription:
        reader = await waiting(subscription)
        written = [await store.put("first")]
        await synced(cache, store)
        taker.answer, taker.fault = True, None
        written.append(await store.put("second"))
        await synced(cache, store)
        read = await reader
        if len(read) == 1:
            read += await anext(subscription)
        assert [event.entry.revision for event in read] == written
        assert not taker.taken, "nothing is taken past what is unread"


async def test_receiver_of_a_reader_that_does_not_read_is_told_of_the_end(
    store: GatedStore, cache: WatchCache
) -> None:
    await synced(cache, store)
    taker = Taker()
    slow = cache.watch(PODS, cache.revision, receiver=taker)
    for number in range(MAX_QUEUED_EVENTS + 1):
        assert taker.ends == 0, number
        await store.put("web")
        await synced(cache, store)
    assert taker.ends == 1
    with pytest.raises(TooSlow):
        await anext(slow)


async def test_readers_of_one_prefix_share_a_list(store: GatedStore, cache: WatchCache) -> None:
    await synced(cache, store)
    prefix = registry_prefix("pods", "a")
    one, two = cache.watch(prefix, cache.revision), cache.watch(prefix, cache.revision)
    ahead = cache.watch(prefix, cache.revision + 1)
    first = await store.put("web")
    await synced(cache, store)
    await store.put("web", "b")
    second = await store.put("web")
    await synced(cache, store)
    for reader, expected in ((one, [first, second]), (two, [first, second]), (ahead, [second])):
        assert [event.entry.revision for event in await anext(reader)] == expected
        reader.close()


async def test_stopped_cache_ends_its_readers(store: GatedStore) -> None:
    cache = WatchCache(store, FakeClock())
    running = asyncio.create_task(cache.run())
    await cache.wait_for(1, 5)
    reader = asyncio.create_task(anext(cache.watch(PODS, 1)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(CacheStopped):
        await reader
    await asyncio.gather(running, return_exceptions=True)


async def test_a_cache_that_ends_its_watches_still_answers_lists(
    store: GatedStore, cache: WatchCache
) -> None:
    await store.put("web")
    await synced(cache, store)
    reader = asyncio.create_task(anext(cache.watch(PODS, cache.revision)))
    await asyncio.sleep(0)
    cache.end_watches()
    with pytest.raises(CacheStopped):
        await reader
    with pytest.raises(CacheStopped):
        cache.watch(PODS, cache.revision)
    await store.put("api")
    await synced(cache, store)
    assert len(cache.list(PODS)) == 2


async def test_compaction_is_bridged_by_differences(store: GatedStore, cache: WatchCache) -> None:
    for name in ("same", "changed", "gone", "anew"):
        await store.put(name)
    await synced(cache, store)
    start = cache.revision
    subscription = cache.watch(PODS, start)
    store.gate.clear()
    changed = await store.put("changed")
    await store.remove("gone")
    await store.remove("anew")
    anew = await store.put("anew")
    anew_again = await store.put("anew")
    new = await store.put("new")
    await store.compact(new)
    store.gate.set()
    await synced(cache, store)
    assert told(await anext(subscription)) == [
        ("MODIFIED", "changed", changed),
        ("DELETED", "anew", anew - 1),
        ("ADDED", "anew", anew_again),
        ("DELETED", "gone", new),
        ("ADDED", "new", new),
    ]
    entry = cache.get(pod("anew"))
    assert entry is not None and entry.create_revision == anew
    with pytest.raises(TooOld):
        cache.watch(PODS, start)
    later = await store.put("same")
    assert told(await anext(subscription)) == [("MODIFIED", "same", later)]
    subscription.close()


async def test_wait_for(store: GatedStore, cache: WatchCache) -> None:
    await synced(cache, store)
    waiting = asyncio.create_task(cache.wait_for(cache.revision + 2, 5))
    await store.put("a")
    await store.put("b")
    await waiting
    with pytest.raises(NotYet):
        await cache.wait_for(cache.revision + 1, 0.01)
    assert cache._waiters == []


async def test_consistent_reads_share_one_question(store: GatedStore, cache: WatchCache) -> None:
    await synced(cache, store)
    first = [asyncio.create_task(cache.consistent_revision()) for _ in range(50)]
    while store.reads == 0:
        await asyncio.sleep(0)
    written = await store.put("web")
    # The question on its way may miss this write; who comes now must not share it.
    second = [asyncio.create_task(cache.consistent_revision()) for _ in range(50)]
    await asyncio.gather(*first)
    assert set(await asyncio.gather(*second)) == {written}
    assert store.reads == 2


async def test_consistent_read_passes_errors_to_all(
    store: GatedStore, cache: WatchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> int:
        raise Compacted(1)

    monkeypatch.setattr(store, "revision", fail)
    reads = (cache.consistent_revision() for _ in range(3))
    results = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(one, StoreError) for one in results)


@pytest.mark.parametrize("seed", range(20))
async def test_events_lead_to_the_store_s_state(
    seed: int, store: GatedStore, cache: WatchCache
) -> None:
    """Whatever is written, held back and compacted: no change is lost or told twice."""
    chance = random.Random(seed)
    await synced(cache, store)
    subscription = cache.watch(PODS, cache.revision)
    view: dict[str, int] = {}
    for _ in range(150):
        name = f"p{chance.randrange(6)}"
        exists = (await store.get(pod(name)))[0] is not None
        match chance.choice(["put", "put", "remove", "hold", "go", "compact"]):
            case "remove" if exists:
                await store.remove(name)
            case "hold":
                store.gate.clear()
            case "go":
                store.gate.set()
            case "compact":
                await store.compact(await MemoryStore.revision(store))
            case _:
                await store.put(name)
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    store.gate.set()
    await store.put("last")
    await synced(cache, store)
    last_revision = 0
    for event in await anext(subscription):
        name, revision = event.entry.name, event.entry.revision
        assert revision >= last_revision
        last_revision = revision
        assert (name in view) == (event.type != "ADDED")
        if event.type == "DELETED":
            del view[name]
        else:
            assert revision > view.get(name, 0)
            view[name] = revision
    page = await store.list(PODS)
    assert view == {item.key.rpartition("/")[2]: item.revision for item in page.items}
    assert [e.revision for e in cache.list(PODS)] == [item.revision for item in page.items]
    subscription.close()
