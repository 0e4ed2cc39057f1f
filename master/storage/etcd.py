"""The Store on etcd: every write is one transaction on modification revisions."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import wraps
from typing import ParamSpec, TypeVar

from common.etcd import errors, types
from common.etcd.client import EtcdClient, prefix_end
from common.runtime.clock import Clock, SystemClock
from master.storage.keys import check_prefix
from master.storage.leases import Leases
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
    NoSpace,
    OutcomeUnknown,
    Page,
    StoreError,
    TooLarge,
    Unavailable,
)

PAGE_SIZE = 500
FIRST_PAGE_SIZE = 8
PAGE_BYTES = 2 << 20
"""Of the keys of one answer, as far as those of the one before tell: gRPC reads it in one piece, on
the event loop, and holds it several times meanwhile."""
GROWTH = 4

P = ParamSpec("P")
T = TypeVar("T")

_ERRORS: tuple[tuple[type[errors.EtcdError], type[StoreError]], ...] = (
    (errors.OutcomeUnknown, OutcomeUnknown),
    (errors.FutureRevision, FutureRevision),
    (errors.TooLarge, TooLarge),
    (errors.NoSpace, NoSpace),
    (errors.EtcdError, Unavailable),
)


def _translated(
    method: Callable[P, Coroutine[None, None, T]],
) -> Callable[P, Coroutine[None, None, T]]:
    """Draw the line between etcd's errors and the Store's."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except errors.EtcdError as error:
            raise _store_error(error) from error

    return call


class EtcdStore:
    """A Store on an etcd cluster that nobody else writes to."""

    def __init__(self, client: EtcdClient, clock: Clock | None = None) -> None:
        self._client = client
        self._leases = Leases(client.lease_grant, clock or SystemClock())

    @_translated
    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """The key as of now and the store's revision."""
        found = await self._client.range(key.encode())
        return (_key_value(found.items[0]) if found.items else None), found.revision

    @_translated
    async def revision(self) -> int:
        """The store's revision: a read that finds nothing, yet goes through the quorum."""
        return (await self._client.range(b"\0", count_only=True)).revision

    @_translated
    async def list(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """The keys below `prefix` behind `start_after`, now or as of `revision`.

        It is read in pages at one revision, so that no answer is huge.
        """
        start = check_prefix(prefix).encode()
        end = prefix_end(start)
        if start_after >= prefix:
            start = start_after.encode() + b"\0"
        items: list[KeyValue] = []
        size = FIRST_PAGE_SIZE
        while True:
            size = min(size, limit - len(items)) if limit else size
            page = await self._client.range(start, end, limit=size, revision=revision)
            revision = revision or page.revision
            items += map(_key_value, page.items)
            if not page.more or len(items) == limit:
                return Page(items, revision, page.more, page.count - len(page.items))
            start = page.items[-1].key + b"\0"
            size = _next_size(page.items)

    @_translated
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
        lease = await self._leases.take(ttl_seconds) if ttl_seconds is not None else 0
        write = _Write(key, 0, guards, allocate)
        return await self._commit(write, types.Put(key.encode(), value, lease))

    @_translated
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
        lease = await self._leases.take(ttl_seconds) if ttl_seconds is not None else None
        write = _Write(key, expected_revision, guards, allocate, release)
        return await self._commit(write, types.Put(key.encode(), value, lease))

    @_translated
    async def delete(
        self,
        key: str,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        release: Sequence[str] = (),
    ) -> int:
        """Delete a key that has `expected_revision`."""
        write = _Write(key, expected_revision, guards, (), release)
        return await self._commit(write, types.Delete(key.encode()))

    async def watch(
        self, prefix: str, *, start_revision: int
    ) -> AsyncGenerator[Sequence[Change], None]:
        """All changes below `prefix` from `start_revision` on."""
        start = check_prefix(prefix).encode()
        batches = self._client.watch(
            start, prefix_end(start), start_revision=start_revision, previous=True
        )
        try:
            async with aclosing(batches):
                async for batch in batches:
                    yield [_change(event) for event in batch.events]
        except errors.EtcdError as error:
            raise _store_error(error) from error

    @_translated
    async def compact(self, revision: int) -> None:
        """Forget what was superseded before `revision`."""
        try:
            await self._client.compact(revision)
        except errors.Compacted:
            pass  # another master was faster

    async def _commit(self, write: "_Write", operation: types.Operation) -> int:
        result = await self._client.txn(
            write.compares(), [operation, *write.side_effects()], write.reads()
        )
        if result.succeeded:
            return result.revision
        raise write.refusal([found[0] if found else None for found in result.responses])


class _Write:
    """The conditions of one write, and what to say when they do not hold. Revision 0 is absent."""

    def __init__(
        self,
        key: str,
        revision: int,
        guards: Sequence[Guard],
        allocate: Sequence[Allocation],
        release: Sequence[str] = (),
    ) -> None:
        self._key = key
        self._revision = revision
        self._guards = guards
        self._allocate = allocate
        self._release = release

    def compares(self) -> list[types.Compare]:
        """All that must hold."""
        return [
            types.Compare(self._key.encode(), self._revision),
            *(types.Compare(one.key.encode(), 0) for one in self._allocate),
            *map(_compare, self._guards),
        ]

    def side_effects(self) -> list[types.Operation]:
        """Allocations taken and released."""
        return [
            *(types.Put(one.key.encode(), one.owner.encode()) for one in self._allocate),
            *(types.Delete(key.encode()) for key in self._release),
        ]

    def reads(self) -> list[types.Operation]:
        """What is read when something does not hold."""
        keys = [self._key, *(one.key for one in self._allocate), *(one.key for one in self._guards)]
        return [types.Get(key.encode()) for key in keys]

    def refusal(self, found: Sequence[types.KeyValue | None]) -> StoreError:
        """The first condition that did not hold, by what `reads` found."""
        own, rest = found[0], found[1:]
        if self._revision == 0 and own is not None:
            return KeyExists(self._key)
        if self._revision and own is None:
            return KeyNotFound(self._key)
        if own is not None and own.mod_revision != self._revision:
            return Conflict(_key_value(own))
        for one, taken in zip(self._allocate, rest, strict=False):
            if taken is not None:
                return AllocationTaken(one.key, taken.value.decode())
        for guard, item in zip(self._guards, rest[len(self._allocate) :], strict=True):
            compare = _compare(guard)
            if ((item.mod_revision if item else 0) == compare.revision) != compare.equal:
                return GuardFailed(guard)
        raise AssertionError("etcd refused a transaction all of whose conditions hold")


def _compare(guard: Guard) -> types.Compare:
    if guard.state == "exists":
        return types.Compare(guard.key.encode(), 0, equal=False)
    revision = 0 if guard.state == "absent" else int(guard.state)
    return types.Compare(guard.key.encode(), revision)


def _next_size(items: Sequence[types.KeyValue]) -> int:
    """How many keys to read next, after a page of these."""
    fitting = PAGE_BYTES * len(items) // (1 + sum(len(item.value) for item in items))
    return max(1, min(PAGE_SIZE, GROWTH * len(items), fitting))


def _key_value(item: types.KeyValue) -> KeyValue:
    return KeyValue(item.key.decode(), item.value, item.create_revision, item.mod_revision)


def _change(event: types.Event) -> Change:
    """A change; what it replaced is missing only when that was compacted meanwhile."""
    item = event.item
    if event.previous is None and (event.deleted or item.create_revision != item.mod_revision):
        raise errors.Compacted(item.mod_revision)
    previous = _key_value(event.previous) if event.previous else None
    value = None if event.deleted else item.value
    return Change(item.key.decode(), value, item.mod_revision, previous)


def _store_error(error: errors.EtcdError) -> StoreError:
    if isinstance(error, errors.Compacted):
        return Compacted(error.revision)
    kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
    return kind(str(error))
