"""The watch cache: every object as bytes, fed by one watch, read by everyone.

One watch over all keys, which only masters write: each revision of the store is a change that
this watch sees, so that the cache knows how far it is without asking.
"""

import asyncio
import logging
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from common.runtime.parts import PartFailed
from master.storage.entry import CacheEvent, Entry, make_entry
from master.storage.keys import EVERYTHING, REGISTRY, InvalidKey, check_prefix, registry_key
from master.storage.store import Change, Compacted, KeyValue, Store, StoreError
from master.storage.subscription import (
    CacheStopped,
    Receiver,
    Subscription,
    TooOld,
)

log = logging.getLogger(__name__)

RESOURCE_HISTORY_EVENTS = 1_000
TOTAL_HISTORY_EVENTS = 20_000
TOTAL_HISTORY_BYTES = 32 << 20

STOPPED = "the watch cache is shut down"
_LIST_PAGE = 500
Events = dict[str, list[CacheEvent]]
"""By resource, in order."""

_RETRY = Backoff(initial_seconds=0.1, cap_seconds=5.0)


class NotYet(Exception):
    """The cache did not reach a revision in time."""


class StoreRestored(PartFailed):
    """The store has less than it had. What nobody has written is shown in many places, so that the
    process begins again."""


class _Resource:
    """The keys of one resource in order, its recent events, and who reads them."""

    def __init__(self, floor_revision: int) -> None:
        self.keys: list[str] = []
        self.history: deque[CacheEvent] = deque()
        self.floor_revision = floor_revision
        """Events up to this revision are not in the history."""
        self.history_bytes = 0
        self.subscriptions: set[Subscription] = set()

    def drop_oldest(self, count: int) -> int:
        """Forget the `count` oldest events; returns their bytes."""
        before = self.history_bytes
        for _ in range(count):
            event = self.history.popleft()
            self.floor_revision = event.entry.revision
            self.history_bytes -= _size(event)
        return before - self.history_bytes

    def remember(self, events: Sequence[CacheEvent]) -> int:
        """Add the newest events; returns their bytes."""
        self.history += events
        size_bytes = sum(map(_size, events))
        self.history_bytes += size_bytes
        return size_bytes

    def forget(self, revision: int) -> None:
        """Begin the history anew behind a revision."""
        self.history.clear()
        self.history_bytes = 0
        self.floor_revision = revision


class WatchCache:
    """All objects of a store below the registry prefix.

    `run` feeds it. Everything else may be called from the same event loop at any time; what
    is not async sees one consistent state.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._revision = 0
        self._loaded_revision = 0
        self._entries: dict[str, Entry] = {}
        self._resources: dict[str, _Resource] = {}
        self._history_events = 0
        self._history_bytes = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._current_read: asyncio.Task[int] | None = None
        self._next_read: asyncio.Task[int] | None = None
        self._takes_subscriptions = True

    async def run(self) -> None:
        """Load and follow until cancelled. History that is compacted away is bridged by a list.

        Raises StoreRestored.
        """
        failures = 0
        try:
            while True:
                try:
                    await self._load()
                    failures = 0
                    await self._follow()
                except Compacted as error:
                    log.warning("watch cache lists again", extra={"cause": str(error)})
                except StoreError as error:
                    failures += 1
                    log.warning("watch cache cannot list", extra={"cause": str(error)})
                    await self._clock.sleep(_RETRY.delay_seconds(failures))
        finally:
            self._end_subscriptions()

    def end_watches(self) -> None:
        """End every subscription, and take no new ones. Lists are answered as before."""
        self._takes_subscriptions = False
        self._end_subscriptions()

    def _end_subscriptions(self) -> None:
        for resource in self._resources.values():
            for subscription in tuple(resource.subscriptions):
                subscription.end(CacheStopped(STOPPED))

    def check_invariants(self) -> None:
        """Keys in order are those of the entries; histories are in order, counted and bounded."""
        keys = [key for resource in self._resources.values() for key in resource.keys]
        assert sorted(keys) == sorted(self._entries)
        for name, resource in self._resources.items():
            assert resource.keys == sorted(resource.keys), name
            revisions = [event.entry.revision for event in resource.history]
            assert revisions == sorted(revisions), name
            assert not revisions or resource.floor_revision < revisions[0], name
            assert not revisions or revisions[-1] <= self._revision, name
            assert resource.history_bytes == sum(map(_size, resource.history)), name
        resources = self._resources.values()
        assert self._history_events == sum(len(one.history) for one in resources)
        assert self._history_bytes == sum(one.history_bytes for one in resources)
        assert self._history_events <= TOTAL_HISTORY_EVENTS
        assert self._history_bytes <= TOTAL_HISTORY_BYTES

    @property
    def ready(self) -> bool:
        """Whether the first list is done."""
        return self._revision > 0

    @property
    def revision(self) -> int:
        """The store's revision that the cache shows; 0 before it is ready."""
        return self._revision

    async def wait_for(self, revision: int, timeout_seconds: float) -> None:
        """Return when the cache shows `revision` or later. Raises NotYet."""
        if self._revision >= max(revision, 1):
            return
        reached = asyncio.get_running_loop().create_future()
        waiter = (max(revision, 1), reached)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_seconds):
                await reached
        except TimeoutError as error:
            raise NotYet(f"the cache is at {self._revision}, not yet at {revision}") from error
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def consistent_revision(self) -> int:
        """The store's revision, asked for after this call began; see `wait_for`.

        Callers share one question. Who comes while one is on its way shares the next, because
        the one on its way may miss what was written before the call. Raises StoreError.
        """
        if self._next_read is None:
            self._next_read = asyncio.create_task(self._read_after(self._current_read))
            self._next_read.add_done_callback(_retrieve)
        return await asyncio.shield(self._next_read)

    async def _read_after(self, earlier: asyncio.Task[int] | None) -> int:
        if earlier is not None:
            await asyncio.wait([earlier])
        # From here on it may miss what is written: who comes now needs the one after it.
        self._current_read, self._next_read = self._next_read, None
        return await self._store.revision()

    def get(self, key: str) -> Entry | None:
        """One object."""
        return self._entries.get(key)

    def find(self, resource: str, name: str, namespace: str = "") -> Entry | None:
        """One object by its names; None also for names that no object can have."""
        try:
            return self._entries.get(registry_key(resource, name, namespace))
        except InvalidKey:
            return None

    def list(self, prefix: str) -> Sequence[Entry]:
        """The objects below `prefix` (a resource, or a namespace of it) in key order."""
        resource = self._resources.get(_resource_of(prefix))
        if resource is None:
            return []
        start = bisect_left(resource.keys, prefix)
        end = bisect_left(resource.keys, prefix[:-1] + "0", lo=start)  # "0" follows "/"
        return [self._entries[key] for key in resource.keys[start:end]]

    def watch(
        self, prefix: str, since_revision: int, *, receiver: Receiver | None = None
    ) -> Subscription:
        """All events below `prefix` after `since_revision`, past and to come.

        While the subscription's reader waits, a receiver is asked first to take them.
        For the current state and what follows, call `list` and this with `revision`, without
        an await between. Raises TooOld, CacheStopped; the cache must be ready.
        """
        if not self._takes_subscriptions:
            raise CacheStopped(STOPPED)
        resource = self._resource(_resource_of(prefix))
        if not self.ready or since_revision < resource.floor_revision:
            raise TooOld(f"revision {since_revision} is older than {resource.floor_revision}")
        backlog = [
            event
            for event in resource.history
            if event.entry.revision > since_revision and event.entry.key.startswith(prefix)
        ]
        subscription = Subscription(
            prefix,
            since_revision,
            backlog,
            lambda: self._revision,
            resource.subscriptions.discard,
            receiver=receiver,
        )
        resource.subscriptions.add(subscription)
        return subscription

    async def _load(self) -> None:
        """List everything at one revision and tell subscribers what is different."""
        values: dict[str, KeyValue] = {}
        revision, last = 0, ""
        while True:  # each page as of the first one's revision: together they are one state
            page = await self._store.list(
                REGISTRY, start_after=last, limit=_LIST_PAGE, revision=revision
            )
            values.update((item.key, item) for item in page.items)
            revision = page.revision
            if not page.more:
                break
            last = page.items[-1].key
        if revision < self._revision:
            text = f"etcd was restored: its revision was {self._revision} and is {revision}"
            raise StoreRestored(text)
        events = self._apply(_differences(self._entries, values, revision))
        self._forget_history(revision)
        self._loaded_revision = revision
        self._publish(events, revision)

    async def _follow(self) -> None:
        """Apply the watch until it ends by Compacted."""
        watch = self._store.watch(EVERYTHING, start_revision=self._revision + 1)
        async with aclosing(watch) as batches:
            async for batch in batches:
                events = self._apply(batch)
                self._remember(events)
                self._publish(events, batch[-1].revision)

    def _apply(self, changes: Iterable[Change]) -> Events:
        """Change the entries; the events of each resource in order."""
        events: Events = defaultdict(list)
        for change in changes:
            resource, *path = change.key.removeprefix(REGISTRY).split("/")
            if not change.key.startswith(REGISTRY) or not path:
                continue
            if event := self._apply_one(change, self._resource(resource), path):
                events[resource].append(event)
        return events

    def _apply_one(
        self, change: Change, resource: _Resource, path: Sequence[str]
    ) -> CacheEvent | None:
        previous = self._entries.get(change.key)
        current = change.current
        if current is not None:
            entry = self._entries[change.key] = make_entry(current, path)
            if previous is not None:
                return CacheEvent("MODIFIED", entry, previous)
            insort(resource.keys, change.key)
            return CacheEvent("ADDED", entry, None)
        if previous is None:
            return None  # nobody was shown it
        del self._entries[change.key]
        del resource.keys[bisect_left(resource.keys, change.key)]
        return CacheEvent("DELETED", previous.deleted_at(change.revision), previous)

    def _publish(self, events: Events, revision: int) -> None:
        """Show the new revision, and hand the events to whoever reads them."""
        # First the revision: whoever an event wakes may ask at once how far the cache is.
        self._revision = revision
        for name, of_resource in events.items():
            if subscriptions := self._resources[name].subscriptions:
                _fan_out(of_resource, f"{REGISTRY}{name}/", tuple(subscriptions))
        for needed, reached in self._waiters:
            if needed <= revision and not reached.done():
                reached.set_result(None)

    def _remember(self, events: Events) -> None:
        for name, of_resource in events.items():
            resource = self._resources[name]
            self._history_bytes += resource.remember(of_resource)
            self._history_events += len(of_resource)
            self._drop(resource, max(0, len(resource.history) - RESOURCE_HISTORY_EVENTS))
        while self._history_bytes > TOTAL_HISTORY_BYTES:
            largest = max(self._resources.values(), key=lambda one: one.history_bytes)
            self._drop(largest, len(largest.history) // 4 + 1)
        while self._history_events > TOTAL_HISTORY_EVENTS:
            longest = max(self._resources.values(), key=lambda one: len(one.history))
            self._drop(longest, len(longest.history) // 4 + 1)

    def _drop(self, resource: _Resource, count: int) -> None:
        self._history_bytes -= resource.drop_oldest(count)
        self._history_events -= count

    def _forget_history(self, revision: int) -> None:
        """After a list nobody can tell in which steps its differences came about."""
        for resource in self._resources.values():
            resource.forget(revision)
        self._history_events = self._history_bytes = 0

    def _resource(self, name: str) -> _Resource:
        if name not in self._resources:
            self._resources[name] = _Resource(self._loaded_revision)
        return self._resources[name]


def _resource_of(prefix: str) -> str:
    """The resource that a prefix belongs to. Raises ValueError for a wider one."""
    resource, slash, _ = check_prefix(prefix).removeprefix(REGISTRY).partition("/")
    if not prefix.startswith(REGISTRY) or not slash:
        raise ValueError(f"{prefix} is not within one resource")
    return resource


def _size(event: CacheEvent) -> int:
    """The bytes that only an event keeps: those of what is still there are the cache's anyway."""
    deleted = event.previous if event.type == "DELETED" else None
    return len(event.entry.data) + (len(deleted.data) if deleted is not None else 0)


def _fan_out(
    events: Sequence[CacheEvent], whole: str, subscriptions: Iterable[Subscription]
) -> None:
    """Give every subscription its part; those of one prefix share one list."""
    parts = {whole: events}
    first_revision = events[0].entry.revision
    for one in subscriptions:
        part = parts.get(one.prefix)
        if part is None:
            part = [event for event in events if event.entry.key.startswith(one.prefix)]
            parts[one.prefix] = part
        if one.since_revision >= first_revision:
            part = [event for event in part if event.entry.revision > one.since_revision]
        if part:
            one.push(part)


def _differences(
    entries: dict[str, Entry], found: dict[str, KeyValue], revision: int
) -> list[Change]:
    """The changes that lead from the entries to what a list at `revision` found, in order.

    When a key was deleted is not known: no later than the list, or than the key was made anew.
    """
    changes = [Change(key, None, revision, None) for key in entries if key not in found]
    for key, item in found.items():
        old = entries.get(key)
        if old is not None and old.revision == item.revision:
            continue
        previous: KeyValue | None = None
        if old is not None and old.create_revision != item.create_revision:
            changes.append(Change(key, None, item.create_revision - 1, None))
        if item.create_revision != item.revision:
            # Only its creation revision is asked for: the change must keep it.
            previous = KeyValue(key, b"", item.create_revision, item.create_revision)
        changes.append(Change(key, item.value, item.revision, previous))
    return sorted(changes, key=lambda change: change.revision)


def _retrieve(task: asyncio.Task[int]) -> None:
    """Look at a task's error, so that nothing is logged when every caller has gone."""
    if not task.cancelled():
        task.exception()
