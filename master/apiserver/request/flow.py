"""Flow limits: what one user may have worked on at once, and how much of it may wait.

The event loop serves in turn whoever has a seat. A user who floods waits for seats of their own;
others do not. Parts of this master and administrators have no limit, as in Kubernetes' exempt
level, and heartbeats of nodes are no calls.

Writes wait also while the watch cache is behind what has been written. All who read wait for it,
and it falls back when more is written than it is told of: the scheduler and the nodes hear of pods
from it, so pods that are taken faster lie there, neither bound nor started. So intake yields to
binding and to status, which are the master's and the nodes' own and do not wait. Administrators
yield, too, for most clients of a small cluster are theirs; but later than users, whose flood must
not hold them up, not for long, and they are never refused.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from common.api import errors
from common.api.wellknown import MASTERS, NODES_GROUP
from common.runtime.clock import Clock
from common.security.identity import Identity

WAIT_SECONDS = 10.0
ADMINISTRATOR_WAIT_SECONDS = 1.0
"""What a write of theirs waits for the cache at the most, before it goes on."""
RETRY_SECONDS = 1
BACKLOG_MAX = 32
"""By how many revisions the cache may be behind when a user's write begins."""
ADMINISTRATOR_BACKLOG_MAX = 64
"""The same of an administrator's: more than a user's flood leaves, and no less than keeps binding
busy."""
BACKLOG_SECONDS = 0.01
"""How often it is looked whether the cache has caught up."""


class Limit(NamedTuple):
    """Calls of one user: so many at once, and so many more that wait for their turn."""

    seats: int
    waiting: int


READ = Limit(16, 256)
LIST = Limit(2, 64)
WRITE = Limit(8, 256)
WATCH = Limit(256, 0)
STREAM = Limit(64, 0)
"""Logs, commands, forwarded ports: each may last for hours."""
_LIMITS = {
    "get": ("read", READ),
    "list": ("list", LIST),
    "watch": ("watch", WATCH),
    "stream": ("stream", STREAM),
}


class _Stage:
    """The calls of one user at one stage."""

    def __init__(self, limit: Limit) -> None:
        self.seats = asyncio.Semaphore(limit.seats)
        self.calls = 0


class FlowControl:
    """Gives seats to calls."""

    def __init__(self, backlog: Callable[[], int], clock: Clock) -> None:
        """`backlog` says how many revisions the watch cache is behind."""
        self._backlog = backlog
        self._clock = clock
        self._stages: dict[tuple[str, str], _Stage] = {}

    def seat(self, user: Identity, stage: str) -> AbstractAsyncContextManager[None]:
        """A seat for a call, until the end of the block; raises StatusError 429.

        The stage is the verb of the call, or `stream`.
        """
        return self._seat(user, *_LIMITS.get(stage, ("write", WRITE)))

    def initial_seat(self, user: Identity) -> AbstractAsyncContextManager[None]:
        """One for the state that a watch begins with: it is a list."""
        return self._seat(user, "list", LIST)

    @asynccontextmanager
    async def _seat(self, user: Identity, name: str, limit: Limit) -> AsyncIterator[None]:
        if MASTERS in user.groups:
            if name == "write":
                await self._cache_catches_up(ADMINISTRATOR_BACKLOG_MAX, ADMINISTRATOR_WAIT_SECONDS)
            yield
            return
        key = user.user, name
        stage = self._stages.setdefault(key, _Stage(limit))
        if stage.calls >= limit.seats + limit.waiting:
            raise _too_many(user, name)
        stage.calls += 1
        try:
            await self._take_seat(stage, user, name)
            try:
                if name == "write" and NODES_GROUP not in user.groups:
                    await self._let_cache_catch_up()
                yield
            finally:
                stage.seats.release()
        finally:
            stage.calls -= 1
            if not stage.calls:
                del self._stages[key]

    async def _take_seat(self, stage: _Stage, user: Identity, name: str) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await stage.seats.acquire()
        except TimeoutError as error:
            raise _too_many(user, name) from error

    async def _let_cache_catch_up(self) -> None:
        if not await self._cache_catches_up(BACKLOG_MAX, WAIT_SECONDS):
            text = "the master is behind with what was written, please try again later"
            raise errors.too_many_requests(text, retry_after_seconds=RETRY_SECONDS)

    async def _cache_catches_up(self, backlog_max: int, seconds: float) -> bool:
        """Wait until the cache is no further behind, or for so long; answers whether it is not."""
        until = self._clock.monotonic() + seconds
        while self._backlog() > backlog_max:
            if self._clock.monotonic() > until:
                return False
            await self._clock.sleep(BACKLOG_SECONDS)
        return True


def _too_many(user: Identity, name: str) -> errors.StatusError:
    text = f'user "{user.user}" has too many {name} requests at once, please try again later'
    return errors.too_many_requests(text, retry_after_seconds=RETRY_SECONDS)
