"""Flow limits: what one user may have worked on at once, and how much of it may wait.

The event loop serves in turn whoever has a seat. A user who floods waits for seats of their own;
others do not. Parts of this master and administrators have no limit, as in Kubernetes' exempt
level, and heartbeats of nodes are no calls. Source:
https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from common.api import errors
from common.security.identity import Identity
from master.apiserver.auth.authenticator import MASTERS

WAIT_SECONDS = 10.0
RETRY_SECONDS = 1


class Limit(NamedTuple):
    """Calls of one user: so many at once, and so many more that wait for their turn."""

    seats: int
    waiting: int


READ = Limit(16, 256)
LIST = Limit(4, 64)
WRITE = Limit(16, 256)
WATCH = Limit(256, 0)
_LIMITS = {"get": ("read", READ), "list": ("list", LIST), "watch": ("watch", WATCH)}


class _Stage:
    """The calls of one user at one stage."""

    def __init__(self, limit: Limit) -> None:
        self.seats = asyncio.Semaphore(limit.seats)
        self.calls = 0


class FlowControl:
    """Gives seats to calls."""

    def __init__(self) -> None:
        self._stages: dict[tuple[str, str], _Stage] = {}

    @asynccontextmanager
    async def seat(self, user: Identity, verb: str) -> AsyncIterator[None]:
        """A seat for a call, until the end of the block; raises StatusError 429."""
        if MASTERS in user.groups:
            yield
            return
        name, limit = _LIMITS.get(verb, ("write", WRITE))
        key = user.user, name
        stage = self._stages.setdefault(key, _Stage(limit))
        if stage.calls >= limit.seats + limit.waiting:
            raise _too_many(user, name)
        stage.calls += 1
        try:
            await self._sit_down(stage, user, name)
            try:
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


def _too_many(user: Identity, name: str) -> errors.StatusError:
    text = f'user "{user.user}" has too many {name} requests at once, please try again later'
    return errors.too_many_requests(text, retry_after_seconds=RETRY_SECONDS)
