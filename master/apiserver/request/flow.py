"""Flow limits: what one user may have worked on at once, and how much of it may wait.

The event loop serves in turn whoever has a seat. A user who floods waits for seats of their own;
others do not. Writes wait also while the watch cache is behind what has been written: all who read
wait for the cache, and it falls back when more is written than its watchers can be sent. What nodes
report does not wait for it: a flood by somebody else must not hold up the status of pods. Parts of
this master and administrators have no limit, as in Kubernetes' exempt level, and heartbeats of
nodes are no calls. Source:
https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from common.api import errors
from common.runtime.clock import Clock
from common.security.csr import NODES_GROUP
from common.security.identity import Identity
from master.apiserver.auth.authenticator import MASTERS

WAIT_SECONDS = 10.0
RETRY_SECONDS = 1
BACKLOG_MAX = 32
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
_LIMITS = {"get": ("read", READ), "list": ("list", LIST), "watch": ("watch", WATCH)}


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

    def seat(self, user: Identity, verb: str) -> AbstractAsyncContextManager[None]:
        """A seat for a call, until the end of the block; raises StatusError 429."""
        return self._seat(user, *_LIMITS.get(verb, ("write", WRITE)))

    def initial_seat(self, user: Identity) -> AbstractAsyncContextManager[None]:
        """One for the state that a watch begins with: it is a list."""
        return self._seat(user, "list", LIST)

    @asynccontextmanager
    async def _seat(self, user: Identity, name: str, limit: Limit) -> AsyncIterator[None]:
        if MASTERS in user.groups:
            yield
            return
        key = user.user, name
        stage = self._stages.setdefault(key, _Stage(limit))
        if stage.calls >= limit.seats + limit.waiting:
            raise _too_many(user, name)
        stage.calls += 1
        try:
            await self._sit_down(stage, user, name)
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

    async def _sit_down(self, stage: _Stage, user: Identity, name: str) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await stage.seats.acquire()
        except TimeoutError as error:
            raise _too_many(user, name) from error

    async def _let_cache_catch_up(self) -> None:
        until = self._clock.monotonic() + WAIT_SECONDS
        while self._backlog() > BACKLOG_MAX:
            if self._clock.monotonic() > until:
                text = "the master is behind with what was written, please try again later"
                raise errors.too_many_requests(text, retry_after_seconds=RETRY_SECONDS)
            await self._clock.sleep(BACKLOG_SECONDS)


def _too_many(user: Identity, name: str) -> errors.StatusError:
    text = f'user "{user.user}" has too many {name} requests at once, please try again later'
    return errors.too_many_requests(text, retry_after_seconds=RETRY_SECONDS)
