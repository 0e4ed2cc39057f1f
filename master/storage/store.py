"""The Store protocol: keys, bytes and revisions, whoever keeps them.

Revisions are etcd's: one counter for the whole store, which every write raises. It is the
resourceVersion that users see.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key at one revision. The value never contains the revision."""

    key: str
    value: bytes
    create_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, in key order. `remaining` counts the keys behind this page."""

    items: Sequence[KeyValue]
    revision: int
    more: bool
    remaining: int


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a key at `revision`: a new value, or None when it was deleted."""

    key: str
    value: bytes | None
    revision: int
    previous: KeyValue | None

    @property
    def current(self) -> KeyValue | None:
        """The key after the change."""
        if self.value is None:
            return None
        created = self.previous.create_revision if self.previous else self.revision
        return KeyValue(self.key, self.value, created, self.revision)


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold of another key in the same transaction: its exact revision, or presence."""

    key: str
    state: int | Literal["exists", "absent"]


@dataclass(frozen=True, slots=True)
class Allocation:
    """A key outside every watched prefix that only one owner can hold, such as an address."""

    key: str
    owner: str


class StoreError(Exception):
    """Anything that a store answers but success."""


class KeyExists(StoreError):
    """Create found the key."""


class KeyNotFound(StoreError):
    """Update or delete did not find the key."""


class Conflict(StoreError):
    """The key has another revision than expected; `current` is what is there."""

    def __init__(self, current: KeyValue) -> None:
        super().__init__(f"{current.key} is at revision {current.revision}")
        self.current = current


class AllocationTaken(StoreError):
    """An allocation belongs to `owner` already."""

    def __init__(self, key: str, owner: str) -> None:
        super().__init__(f"{key} belongs to {owner}")
        self.key = key
        self.owner = owner


class GuardFailed(StoreError):
    """A guard did not hold; `guard` is the first of them."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(f"{guard.key} is not as required: {guard.state}")
        self.guard = guard


class Compacted(StoreError):
    """The revision asked for is gone; `oldest` is the oldest one left, 0 if not known."""

    def __init__(self, oldest: int = 0) -> None:
        super().__init__(f"the revision was compacted; the oldest one left is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for does not exist yet."""


class TooLarge(StoreError):
    """The value is larger than the store takes."""


class NoSpace(StoreError):
    """The store is full: only reads and deletes are possible."""


class Unavailable(StoreError):
    """The store cannot be asked now; nothing was changed."""


class OutcomeUnknown(StoreError):
    """The write may have happened or may yet happen: a `get` tells."""


class Store(Protocol):
    """One linearizable, versioned map. Keys come from `master.storage.keys`.

    Every write is one transaction: its own condition, all guards, all allocations, and only
    then the one key, with the allocations taken and released. It returns the new revision.
    Errors of a refused write are reported in the order: the key itself, allocations, guards.
    """

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """The key as of now and the store's revision. Linearizable."""
        ...

    async def list(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """The keys below `prefix` behind `start_after`, now or as of `revision`.

        Raises Compacted or FutureRevision.
        """
        ...

    async def revision(self) -> int:
        """The store's revision. Linearizable: not older than any write acknowledged before."""
        ...

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        guards: Sequence[Guard] = (),
        allocate: Sequence[Allocation] = (),
        ttl_seconds: int | None = None,
    ) -> int:
        """Write a key that is not there. With a time to live it is deleted afterwards."""
        ...

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
        """Replace a key that has `expected_revision`; its end of life stays unless given anew."""
        ...

    async def delete(
        self,
        key: str,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        release: Sequence[str] = (),
    ) -> int:
        """Delete a key that has `expected_revision`."""
        ...

    def watch(self, prefix: str, *, start_revision: int) -> AsyncGenerator[Sequence[Change], None]:
        """All changes below `prefix` from `start_revision` on, each once, in order.

        Close the generator when it is no longer read (`contextlib.aclosing`).

        The changes of one revision come together; a batch may hold several revisions. Survives
        the store's absence. Ends only by Compacted, which it may raise from the oldest revision
        left downwards: what a change replaced is never left out. A store that was restored to
        a revision before those ends it so, too.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget what was superseded before `revision`. Doing it again does nothing."""
        ...
