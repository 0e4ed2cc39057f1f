"""Leases that many keys share: a lease for each would cost etcd as much as the keys themselves.

Source: k8s.io/apiserver pkg/storage/etcd3/lease_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from common.runtime.clock import Clock

Grant = Callable[[int], Awaitable[int]]
"""(seconds to live) -> the id of a new lease."""
SHARED_SECONDS = 60
SHARED_PART = 0.05
"""For how long keys join a lease: a minute, and no more than this part of their time."""
KEYS_MAX = 1000


@dataclass(slots=True)
class _Lease:
    """A lease that keys still join."""

    id: int
    until: float
    """Monotonic seconds."""
    keys: int = 0


class Leases:
    """Gives each key a lease that lives at least as long as the key shall, and little longer.

    A lease that etcd no longer knows, after its data were put back, fails writes for as long as
    keys join it, a minute at most.
    """

    def __init__(self, grant: Grant, clock: Clock) -> None:
        self._grant = grant
        self._clock = clock
        self._open: dict[int, _Lease] = {}
        self._granting = asyncio.Lock()

    async def take(self, ttl_seconds: int) -> int:
        """The id of a lease for one more key; raises what the grant raises."""
        async with self._granting:
            lease = self._open.get(ttl_seconds)
            now = self._clock.monotonic()
            if lease is None or now >= lease.until or lease.keys >= KEYS_MAX:
                shared = min(SHARED_SECONDS, int(ttl_seconds * SHARED_PART))
                made = await self._grant(ttl_seconds + shared)
                lease = self._open[ttl_seconds] = _Lease(made, now + shared)
            lease.keys += 1
            return lease.id
