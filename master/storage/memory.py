"""A Store in memory, for tests and simulations: the same contract as etcd's."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence

from common.runtime.clock import Clock
from master.storage.keys import check_prefix
from master.storage.store import (
    Allocation,
    AllocationTaken,
    Change,
    Compacted,
    Conflict,
    FutureRevision,
    Guard,
    GuardFailed,
    KeyExists,
    KeyNotFound,
    KeyValue,
    Page,
    TooLarge,
)

MAX_VALUE_BYTES = 1_500_000
"""A little below etcd's limit of 1.5 MiB a request."""


class MemoryStore:
    """Keeps all changes until they are compacted. Call `close` to end its timers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._revision = 1
        self._compacted = 0
        self._current: dict[str, KeyValue] = {}
        self._history: list[Change] = []
        self._leases: dict[str, asyncio.Task[None]] = {}
        self._watchers: set[asyncio.Future[None]] = set()

    def close(self) -> None:
        """End the timers of keys with a time to live."""
        for timer in self._leases.values():
            timer.cancel()

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """The key as of now and the store's revision."""
        return self._current.get(key), self._revision

    async def revision(self) -> int:
        """The store's revision."""
        return self._revision

    async def list(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """The keys below `prefix` behind `start_after`, now or as of `revision`."""
        check_prefix(prefix)
        if revision > self._revision:
            raise FutureRevision(f"{revision} is after {self._revision}")
        if revision and revision < self._compacted:
            raise Compacted(self._compacted)
        state = self._state_at(revision or self._revision)
        keys = sorted(key for key in state if key.startswith(prefix) and key > start_after)
        page = keys[:limit] if limit else keys
        items = [state[key] for key in page]
        remaining = len(keys) - len(page)
        return Page(items, revision or self._revision, remaining > 0, remaining)

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        guards: Sequence[Guard] = (),
        allocate: Sequence[Allocation] = (),
        ttl_seconds: int | None = None,
    ) -> int:
        """Write a key that is not there."""
        if key in self._current:
            raise KeyExists(key)
        return self._write(key, value, guards, allocate, (), ttl_seconds)

    async def update(
        self,
        key: str,
        value: bytes,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        allocate: Sequence[Allocation] = (),
        release: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> int:
        """Replace a key that has `expected_revision`."""
        self._expect(key, expected_revision)
        return self._write(key, value, guards, allocate, release, ttl_seconds)

    async def delete(
        self,
        key: str,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        release: Sequence[str] = (),
    ) -> int:
        """Delete a key that has `expected_revision`."""
        self._expect(key, expected_revision)
        return self._write(key, None, guards, (), release, None)

    async def watch(
        self, prefix: str, *, start_revision: int
    ) -> AsyncGenerator[Sequence[Change], None]:
        """All changes below `prefix` from `start_revision` on."""
        check_prefix(prefix)
        next_revision = start_revision
        while True:
            if not self._compacted < next_revision <= self._revision + 1:
                raise Compacted(self._compacted)
            start = bisect_left(self._history, next_revision, key=lambda one: one.revision)
            next_revision = max(next_revision, self._revision + 1)
            if batch := [one for one in self._history[start:] if one.key.startswith(prefix)]:
                yield batch
            if next_revision > self._revision:
                await self._next_change()

    async def compact(self, revision: int) -> None:
        """Forget what was superseded before `revision`."""
        if revision > self._revision:
            raise FutureRevision(f"{revision} is after {self._revision}")
        self._compacted = max(self._compacted, revision)
        kept: dict[str, Change] = {}
        newer: list[Change] = []
        for change in self._history:
            if change.revision > self._compacted:
                newer.append(change)
            elif change.value is None:
                kept.pop(change.key, None)
            else:
                kept[change.key] = change
        self._history = sorted(kept.values(), key=lambda one: one.revision) + newer
        self._wake()

    def _state_at(self, revision: int) -> dict[str, KeyValue]:
        if revision == self._revision:
            return self._current
        state: dict[str, KeyValue] = {}
        for change in self._history:
            if change.revision > revision:
                break
            if (current := change.current) is None:
                state.pop(change.key, None)
            else:
                state[change.key] = current
        return state

    def _expect(self, key: str, revision: int) -> None:
        current = self._current.get(key)
        if current is None:
            raise KeyNotFound(key)
        if current.revision != revision:
            raise Conflict(current)

    def _write(
        self,
        key: str,
        value: bytes | None,
        guards: Sequence[Guard],
        allocate: Sequence[Allocation],
        release: Sequence[str],
        ttl_seconds: int | None,
    ) -> int:
        if value is not None and len(value) > MAX_VALUE_BYTES:
            raise TooLarge(f"{key}: {len(value)} bytes")
        for one in allocate:
            if taken := self._current.get(one.key):
                raise AllocationTaken(one.key, taken.value.decode())
        for guard in guards:
            if not self._holds(guard):
                raise GuardFailed(guard)
        self._revision += 1
        self._change(key, value)
        for one in allocate:
            self._change(one.key, one.owner.encode())
        for released in release:
            self._change(released, None)
        self._set_lease(key, value, ttl_seconds)
        self._wake()
        return self._revision

    def _holds(self, guard: Guard) -> bool:
        current = self._current.get(guard.key)
        if guard.state == "absent":
            return current is None
        if guard.state == "exists":
            return current is not None
        return current is not None and current.revision == guard.state

    def _change(self, key: str, value: bytes | None) -> None:
        previous = self._current.get(key)
        change = Change(key, value, self._revision, previous)
        if (current := change.current) is not None:
            self._current[key] = current
        elif previous is None:
            return
        else:
            del self._current[key]
        self._history.append(change)

    def _set_lease(self, key: str, value: bytes | None, ttl_seconds: int | None) -> None:
        if (value is None or ttl_seconds is not None) and (old := self._leases.pop(key, None)):
            old.cancel()
        if ttl_seconds is not None:
            self._leases[key] = asyncio.create_task(self._expire(key, ttl_seconds))

    async def _expire(self, key: str, ttl_seconds: int) -> None:
        await self._clock.sleep(ttl_seconds)
        del self._leases[key]
        self._revision += 1
        self._change(key, None)
        self._wake()

    async def _next_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._watchers.add(waiter)
        try:
            await waiter
        finally:
            self._watchers.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._watchers:
            if not waiter.done():
                waiter.set_result(None)
