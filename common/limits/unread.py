"""What is held for readers who have not taken it yet: bounded, and counted once for all.

Answers refer to the bytes of objects, most of which are in memory anyway. Those of objects that
have changed since stay for as long as one reader has not taken them: somebody who reads nothing
while objects change could fill the memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from common.limits.budget import BudgetExceeded
from common.limits.ratelimitedlog import RateLimitedLog
from common.runtime.clock import Clock

STALLED_SECONDS = 1.0
"""A reader that has taken nothing for so long may be cut off for the sake of others."""
TURN_SECONDS = 5.0
"""So may one that has taken so long, however steadily it reads."""


class Holding:
    """What is held for one reader; a context manager that holds nothing afterwards."""

    __slots__ = ("_unread", "cut_off", "items", "owner", "since", "size_bytes", "waiting")

    def __init__(self, unread: Unread, owner: str, cut_off: Callable[[], None]) -> None:
        self.owner = owner
        self.cut_off = cut_off
        self.items: list[bytes] = []
        self.size_bytes = 0
        self.since = 0.0
        self.waiting: float | None = None  # since when it has been the reader's turn
        self._unread = unread

    def __enter__(self) -> Self:
        """Nothing is held yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held any more."""
        self.clear()

    def add(self, items: Sequence[bytes]) -> None:
        """Hold these too, at once. If that is too much in all, whoever may be is cut off: others,
        or this one."""
        self._unread.count(self, items)

    async def fit(self, items: Sequence[bytes], *, timeout_seconds: float) -> None:
        """Hold these too, as soon as there is room. Raises BudgetExceeded."""
        await self._unread.room(self, items, timeout_seconds)
        self.add(items)

    def clear(self) -> None:
        """Hold nothing."""
        self._unread.forget(self, len(self.items))

    def drop(self, count: int) -> None:
        """Hold the `count` oldest items no more."""
        self._unread.forget(self, count)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """It is the reader's turn until the end of the block: only then it may be cut off."""
        self.waiting = self._unread.clock.monotonic()
        try:
            yield
        finally:
            self.waiting = None


class Unread:
    """All that is held for readers of this process.

    When there is too much of it, whoever is stalled or slow is cut off, first of all the owner who
    holds most, the oldest first.
    """

    def __init__(self, limit_bytes: int, clock: Clock) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.clock = clock
        self._uses: Counter[int] = Counter()
        """How many hold each item, by its id: it lives as long as it is held."""
        self._holdings: set[Holding] = set()
        self._freed = asyncio.Event()
        self._log = RateLimitedLog(logging.getLogger(__name__), clock, per_second=1.0, burst=10.0)

    def hold(self, owner: str, cut_off: Callable[[], None]) -> Holding:
        """A place for what one reader of this owner's has not taken; `cut_off` ends the reader."""
        return Holding(self, owner, cut_off)

    def count(self, holding: Holding, items: Sequence[bytes]) -> None:
        """Count items for a holding: see `Holding.add`."""
        if not holding.items:
            holding.since = self.clock.monotonic()
            self._holdings.add(holding)
        holding.items += items
        for item in items:
            if not self._uses[id(item)]:
                self.used_bytes += len(item)
            self._uses[id(item)] += 1
            holding.size_bytes += len(item)
        if self.used_bytes > self.limit_bytes:
            self._relieve(None, 0)

    def forget(self, holding: Holding, count: int) -> None:
        """Count the oldest items of a holding no more: see `Holding.drop`."""
        gone, holding.items = holding.items[:count], holding.items[count:]
        for item in gone:
            self._uses[id(item)] -= 1
            if not self._uses[id(item)]:
                del self._uses[id(item)]
                self.used_bytes -= len(item)
            holding.size_bytes -= len(item)
        if not holding.items:
            self._holdings.discard(holding)
        self._freed.set()

    async def room(self, holding: Holding, items: Iterable[bytes], timeout_seconds: float) -> None:
        """Return when the items fit, or when nobody else holds anything: see `Holding.fit`."""
        items = list(items)
        deadline = self.clock.monotonic() + timeout_seconds
        while not self._relieve(holding, self._new_bytes(items)):
            if self.clock.monotonic() >= deadline:
                text = f"{self.used_bytes} bytes of answers are unread"
                raise BudgetExceeded(text)
            self._freed.clear()
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._freed.wait()
            except TimeoutError:
                pass  # somebody may have stalled by now

    def _new_bytes(self, items: Iterable[bytes]) -> int:
        return sum(len(item) for item in items if id(item) not in self._uses)

    def _relieve(self, newcomer: Holding | None, size_bytes: int) -> bool:
        """Make room for so much more, if that is possible; whether there is room now. A newcomer
        that waits for it is not cut off."""
        if self.used_bytes + size_bytes <= self.limit_bytes:
            return True
        of_owners: Counter[str] = Counter()
        for holding in self._holdings:
            of_owners[holding.owner] += holding.size_bytes
        slow = [one for one in self._holdings if one is not newcomer and self._slow(one)]
        for one in sorted(slow, key=lambda one: (-of_owners[one.owner], one.since)):
            self._log.warning(
                "an answer that is not read is cut off", user=one.owner, bytes=one.size_bytes
            )
            one.clear()
            one.cut_off()
            if self.used_bytes + size_bytes <= self.limit_bytes:
                return True
        return not self._holdings - {newcomer}

    def _slow(self, holding: Holding) -> bool:
        if holding.waiting is None:
            return False
        now = self.clock.monotonic()
        return now - holding.waiting >= STALLED_SECONDS or now - holding.since >= TURN_SECONDS
