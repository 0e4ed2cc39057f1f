"""A work queue of keys: each at most once in the queue and at most once in work.

A key that is added while it is in work is queued again when that work is done; failures come back
with exponential back-off. Source: k8s.io/client-go util/workqueue.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from common.api.errors import StatusError
from common.runtime.clock import Clock, sleep_or_event

log = logging.getLogger(__name__)
BACKOFF_FIRST_SECONDS = 0.005
BACKOFF_MAX_SECONDS = 60.0


class WorkQueue:
    """Keys that wait for work. One task runs `run_timers`, any number call `get` and `done`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._ready = asyncio.Event()
        self._timer_moved = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def check_invariants(self) -> None:
        """A key waits once; what is asked for during work waits behind it, and no timer is lost."""
        assert len(self._queue) == len(set(self._queue))
        assert set(self._queue) == self._dirty - self._working
        timers = {(due, key) for key, due in self._due.items()}
        assert timers <= set(self._timers)

    def add(self, key: str) -> None:
        """Ask for work on `key`, as soon as possible."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._queue.append(key)
            self._ready.set()

    def add_after(self, key: str, delay_seconds: float) -> None:
        """Ask for work on `key` later; of several delays the earliest counts."""
        if delay_seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + delay_seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._timers, (due, key))
            if self._timers[0] == (due, key):
                self._timer_moved.set()

    def add_rate_limited(self, key: str) -> None:
        """Ask again after a failure; the delay doubles with each one in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(
            key, min(BACKOFF_FIRST_SECONDS * 2 ** min(failures, 20), BACKOFF_MAX_SECONDS)
        )

    def forget(self, key: str) -> None:
        """The work on `key` has succeeded: its next failure starts the back-off again."""
        self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; the caller must call `done` with it."""
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """The work on `key` has ended, well or not."""
        self._working.discard(key)
        if key in self._dirty:
            self._queue.append(key)
            self._ready.set()

    async def run_timers(self) -> None:
        """Move delayed keys into the queue when they are due, until cancelled."""
        while True:
            self._timer_moved.clear()
            if not self._timers:
                await self._timer_moved.wait()
                continue
            wait_seconds = self._timers[0][0] - self._clock.monotonic()
            if wait_seconds > 0:
                await sleep_or_event(self._clock, wait_seconds, self._timer_moved)
                continue
            due, key = heapq.heappop(self._timers)
            # Only a key's earliest time counts: later ones stay in the heap and are passed over.
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    async def work(self, reconcile: Callable[[str], Awaitable[None]]) -> None:
        """Call `reconcile` for one key after the other until cancelled.

        A StatusError brings the key back later; any other exception is the caller's mistake and
        ends the work.
        """
        timers = asyncio.ensure_future(self.run_timers())
        try:
            while True:
                key = await self.get()
                try:
                    await reconcile(key)
                    self.forget(key)
                except StatusError as error:
                    log.info("will be tried again", extra={"object": key, "cause": error.message})
                    self.add_rate_limited(key)
                finally:
                    self.done(key)
        finally:
            timers.cancel()
