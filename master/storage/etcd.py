"""The Store on etcd: every write is one transaction on modification revisions."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from common.etcd import errors, types
from common.etcd.client import EtcdClient, prefix_end
from common.runtime.clock import Clock, SystemClock
from master.storage.keys import COUNTER, ROOT, check_prefix
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
            store: Any = args[0]
            raise store.error_of(error) from error

    return call


class EtcdStore:
    """A Store on an etcd cluster, below a prefix of it that nobody else writes to.

    With `shared`, others may write elsewhere in that cluster, which raises its revision, too:
    each write then changes one more key, whose revision is the store's. `possible_cause` says what
    may be in etcd's way; errors tell it.
    """

    def __init__(
        self,
        client: EtcdClient,
        clock: Clock | None = None,
        *,
        prefix: str = ROOT,
        shared: bool = False,
        possible_cause: Callable[[], str] = str,
    ) -> None:
        self._client = client
        self._possible_cause = possible_cause
        self._uncounted = 0
        """The revision of the last write that the counter was too much for."""
        self._names = Names(prefix)
        self._counter = self._names.stored(COUNTER) if shared else b""
        self._leases = Leases(client.lease_grant, clock or SystemClock())

    @_translated
    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """The key as of now and the store's revision."""
        answer = await self._client.range(self._names.stored(key))
        items = map(self._names.key_value, answer.items)
        return next(items, None), answer.revision

    @_translated
    async def revision(self) -> int:
        """The store's revision: that of its last write, or of etcd, where nobody else writes."""
        if not self._counter:
            # Every answer has etcd's revision; to count a key that nobody has costs the least.
            return (await self._client.range(b"\0", count_only=True)).revision
        answer = await self._client.range(self._counter)
        if not answer.items:
            return answer.revision
        return max(answer.items[0].mod_revision, self._uncounted)

    @_translated
    async def list(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """The keys below `prefix` behind `start_after`, now or as of `revision`.

        It is read in pages at one revision, so that no answer is huge.
        """
        start = self._names.stored(check_prefix(prefix))
        end = prefix_end(start)
        if start_after >= prefix:
            start = self._names.stored(start_after) + b"\0"  # the very next key in order
        items: list[KeyValue] = []
        size = FIRST_PAGE_SIZE
        while True:
            size = min(size, limit - len(items)) if limit else size
            page = await self._client.range(start, end, limit=size, revision=revision)
            revision = revision or page.revision
            items += map(self._names.key_value, page.items)
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
        write = _Write(self._names, key, 0, guards, allocate)
        return await self._commit(write, types.Put(self._names.stored(key), value, lease))

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
        write = _Write(self._names, key, expected_revision, guards, allocate, release)
        return await self._commit(write, types.Put(self._names.stored(key), value, lease))

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
        write = _Write(self._names, key, expected_revision, guards, (), release)
        return await self._commit(write, types.Delete(self._names.stored(key)))

    async def watch(
        self, prefix: str, *, start_revision: int
    ) -> AsyncGenerator[Sequence[Change], None]:
        """All changes below `prefix` from `start_revision` on."""
        start = self._names.stored(check_prefix(prefix))
        batches = self._client.watch(
            start, prefix_end(start), start_revision=start_revision, previous=True
        )
        try:
            async with aclosing(batches):
                async for batch in batches:
                    events = [one for one in batch.events if one.item.key != self._counter]
                    if events:
                        yield [self._names.change(event) for event in events]
        except errors.EtcdError as error:
            raise self.error_of(error) from error

    @_translated
    async def compact(self, revision: int) -> None:
        """Forget what was superseded before `revision`."""
        try:
            await self._client.compact(revision)
        except errors.Compacted:
            pass  # another master was faster

    async def _commit(self, write: "_Write", operation: types.Operation) -> int:
        result = await self._transact(write, [operation, *write.side_effects()])
        if result.succeeded:
            return result.revision
        raise write.refusal([values[0] if values else None for values in result.responses])

    async def _transact(
        self, write: "_Write", effects: Sequence[types.Operation]
    ) -> types.TxnResult:
        """Carry a write out. What only deletes must be possible in an etcd that is full."""
        if not self._counter:
            return await self._client.txn(write.compares(), effects, write.reads())
        counted = [*effects, types.Put(self._counter, b"")]
        try:
            return await self._client.txn(write.compares(), counted, write.reads())
        except errors.NoSpace:
            if any(isinstance(one, types.Put) for one in effects):
                raise
        result = await self._client.txn(write.compares(), effects, write.reads())
        if result.succeeded:
            self._uncounted = result.revision
        return result

    def error_of(self, error: errors.EtcdError) -> StoreError:
        """The Store's error for one of etcd's, with what may be in etcd's way."""
        if isinstance(error, errors.Compacted):
            return Compacted(error.revision)
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        if kind is NoSpace:
            return NoSpace(f"etcd is full: only reads and deletes are possible ({error})")
        possible_cause = self._possible_cause() if kind in (Unavailable, OutcomeUnknown) else ""
        return kind("; ".join(filter(None, (str(error), possible_cause))))


class Names:
    """The Store's keys, and etcd's: the prefix of them may be another one there."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def stored(self, key: str) -> bytes:
        """A key as etcd has it."""
        return f"{self._prefix}{key.removeprefix(ROOT)}".encode()

    def key_value(self, item: types.KeyValue) -> KeyValue:
        """What etcd has, under the Store's key."""
        return KeyValue(self._key(item), item.value, item.create_revision, item.mod_revision)

    def change(self, event: types.Event) -> Change:
        """A change; what it replaced is missing only when that was compacted meanwhile."""
        item = event.item
        if event.previous is None and (event.deleted or item.create_revision != item.mod_revision):
            raise errors.Compacted(item.mod_revision)
        previous = self.key_value(event.previous) if event.previous else None
        value = None if event.deleted else item.value
        return Change(self._key(item), value, item.mod_revision, previous)

    def _key(self, item: types.KeyValue) -> str:
        return ROOT + item.key.decode().removeprefix(self._prefix)


class _Write:
    """The conditions of one write, and what to say when they do not hold. Revision 0 is absent."""

    def __init__(
        self,
        names: Names,
        key: str,
        revision: int,
        guards: Sequence[Guard],
        allocate: Sequence[Allocation],
        release: Sequence[str] = (),
    ) -> None:
        self._names = names
        self._key = key
        self._revision = revision
        self._guards = guards
        self._allocate = allocate
        self._release = release

    def compares(self) -> list[types.Compare]:
        """All that must hold."""
        return [
            types.Compare(self._names.stored(self._key), self._revision),
            *(types.Compare(self._names.stored(one.key), 0) for one in self._allocate),
            *map(self._compare, self._guards),
        ]

    def side_effects(self) -> list[types.Operation]:
        """Allocations taken and released."""
        return [
            *(types.Put(self._names.stored(one.key), one.owner.encode()) for one in self._allocate),
            *(types.Delete(self._names.stored(key)) for key in self._release),
        ]

    def reads(self) -> list[types.Operation]:
        """What is read when something does not hold."""
        keys = [self._key, *(one.key for one in self._allocate), *(one.key for one in self._guards)]
        return [types.Get(self._names.stored(key)) for key in keys]

    def refusal(self, found: Sequence[types.KeyValue | None]) -> StoreError:
        """The first condition that did not hold, by what `reads` found."""
        own, rest = found[0], found[1:]
        if self._revision == 0 and own is not None:
            return KeyExists(self._key)
        if self._revision and own is None:
            return KeyNotFound(self._key)
        if own is not None and own.mod_revision != self._revision:
            return Conflict(self._names.key_value(own))
        for one, taken in zip(self._allocate, rest, strict=False):
            if taken is not None:
                return AllocationTaken(one.key, taken.value.decode())
        for guard, item in zip(self._guards, rest[len(self._allocate) :], strict=True):
            compare = self._compare(guard)
            if ((item.mod_revision if item else 0) == compare.revision) != compare.equal:
                return GuardFailed(guard)
        raise AssertionError("etcd refused a transaction all of whose conditions hold")

    def _compare(self, guard: Guard) -> types.Compare:
        key = self._names.stored(guard.key)
        if guard.state == "exists":
            return types.Compare(key, 0, equal=False)
        return types.Compare(key, 0 if guard.state == "absent" else int(guard.state))


def _next_size(items: Sequence[types.KeyValue]) -> int:
    """How many keys to read next, after a page of these."""
    fitting = PAGE_BYTES * len(items) // (1 + sum(len(item.value) for item in items))
    return max(1, min(PAGE_SIZE, GROWTH * len(items), fitting))
