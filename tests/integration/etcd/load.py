"""Writers, all whose acknowledged writes are remembered, and what must be true of them later."""

import asyncio
import itertools
import time
from contextlib import aclosing

from master.storage.etcd import EtcdStore
from master.storage.keys import EVERYTHING, REGISTRY, registry_key
from master.storage.store import (
    Change,
    Conflict,
    KeyExists,
    OutcomeUnknown,
    Unavailable,
)
from master.storage.watchcache import WatchCache

WRITERS = 8


class Load:
    """Writers that each own one key, and everything that etcd acknowledged to them."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self.acknowledged: list[tuple[int, str, bytes]] = []
        self.times: list[float] = []
        """When those of newcomers were; monotonic seconds."""
        self.unknown: set[tuple[str, bytes]] = set()
        self.more = asyncio.Event()
        self.stopped = False

    async def write(self, number: int) -> None:
        """Change one key until stopped, each time with a new value."""
        key = registry_key("pods", f"p{number}", "default")
        expected, step, known_revision, uncertain = 0, 0, 0, False
        while not self.stopped:
            step += 1
            value = b'{"metadata":{"name":"p%d","labels":{"step":"%d"}}}' % (number, step)
            try:
                if expected:
                    revision = await self._store.update(key, value, expected_revision=expected)
                else:
                    revision = await self._store.create(key, value)
            except Unavailable:
                await asyncio.sleep(0.02)
            except (OutcomeUnknown, KeyExists, Conflict) as error:
                if isinstance(error, OutcomeUnknown):
                    self.unknown.add((key, value))
                    uncertain = True
                assert uncertain, "nobody else writes this key"
                expected = await self._look(key, expected)
            else:
                assert revision > known_revision, "revisions never decrease"
                known_revision = expected = revision
                uncertain = False
                self.acknowledged.append((revision, key, value))
                self.more.set()

    async def newcomers(self) -> None:
        """Create a key every 50 ms, whatever becomes of the earlier ones: as clients come along
        who wait for nothing that was sent before."""
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                if self.stopped:
                    return
                group.create_task(self._create(f"n{number:06}"))
                await asyncio.sleep(0.05)

    async def _create(self, name: str) -> None:
        key, value = registry_key("guests", name), b'{"metadata":{"name":"%s"}}' % name.encode()
        try:
            revision = await self._store.create(key, value)
        except Unavailable:
            return
        except OutcomeUnknown:
            self.unknown.add((key, value))
            return
        self.acknowledged.append((revision, key, value))
        self.times.append(time.monotonic())
        self.more.set()

    async def _look(self, key: str, expected: int) -> int:
        while True:
            try:
                found, revision = await self._store.get(key)
            except Unavailable:
                await asyncio.sleep(0.02)
                continue
            assert revision >= expected, "the store went back in time"
            assert found is None or found.revision >= expected, "an acknowledged write was lost"
            return found.revision if found else 0

    async def progress(self, count: int) -> None:
        """Wait until `count` more writes are acknowledged."""
        target = len(self.acknowledged) + count
        while len(self.acknowledged) < target:
            self.more.clear()
            await self.more.wait()

    def longest_silence(self, since_seconds: float) -> float:
        """For how many seconds no newcomer was served, at the worst."""
        times = [since_seconds, *(one for one in self.times if one > since_seconds)]
        return max(later - one for one, later in itertools.pairwise(times))


async def record(store: EtcdStore, seen: list[Change], until: asyncio.Event) -> None:
    """Collect a watch's changes of the objects, up to the key that ends the test."""
    async with aclosing(store.watch(EVERYTHING, start_revision=1)) as batches:
        async for batch in batches:
            seen += [change for change in batch if change.key.startswith(REGISTRY)]
            if seen and seen[-1].key.endswith("/end"):
                until.set()
                return


async def write_end(store: EtcdStore) -> int:
    """The last write, which tells readers of the watch that there is no more."""
    while True:
        try:
            return await store.create(registry_key("ends", "end"), b"{}")
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.02)


def check_history(load: Load, seen: list[Change]) -> None:
    """I1 and I3: nothing acknowledged is missing, nothing is told twice or out of order."""
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions))
    told = {(change.revision, change.key, change.value) for change in seen}
    assert set(load.acknowledged) <= told
    unacknowledged = told - set(load.acknowledged)
    assert {(key, value) for _, key, value in unacknowledged if not key.endswith("/end")} <= (
        load.unknown
    )
    last: dict[str, int] = {}
    for change in seen:
        previous = change.previous.revision if change.previous else None
        assert previous == last.get(change.key), "each change says what it replaced"
        last[change.key] = change.revision


async def check_cache(cache: WatchCache, store: EtcdStore, end_revision: int) -> None:
    """The cache saw the same as the store has."""
    revision = await cache.consistent_revision()
    assert revision >= end_revision
    await cache.wait_for(revision, 20)
    page = await store.list(f"{REGISTRY}pods/")
    cached = cache.list(f"{REGISTRY}pods/")
    assert [(entry.key, entry.revision) for entry in cached] == [
        (item.key, item.revision) for item in page.items
    ]
    assert len(cached) == WRITERS
