"""Memory that is no longer used: cycles of objects are found in time, and what is free goes back to
the system, where glibc would keep it."""

from __future__ import annotations

import ctypes
import gc

from common.runtime.clock import Clock

TRIM_SECONDS = 15.0
COLLECT_SECONDS = 0.5
COLLECT_SHARE = 0.1
"""Of the time, that may be spent on it at the most."""
LARGE_BYTES = 512 << 10
"""More than the buffer of 256 KiB that uvloop takes for each read of a TLS connection: to map one
and unmap it takes as long as all the rest of a small request's way through Python."""
ARENAS = 2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def prepare() -> None:
    """Blocks of half a megabyte and more are mapped, and unmapped when they are freed.

    By itself glibc raises that limit to what was last freed, and then keeps such blocks. Does
    nothing on another C library.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, ARENAS)


class MemoryTrimmer:
    """Gives freed memory back, now and then: that takes 2 ms when there is nothing to give."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._libc = ctypes.CDLL(None)

    async def run(self) -> None:
        """Look after it until cancelled."""
        while hasattr(self._libc, "malloc_trim"):
            await self._clock.sleep(TRIM_SECONDS)
            self._libc.malloc_trim(0)
        await self._clock.sleep(float("inf"))


class CycleCollector:
    """Collects cycles of objects before there are many, for that holds the event loop up.

    gRPC leaves a dozen objects of each call in them. By itself Python waits until they are a
    quarter of all that it knows, and then takes a tenth of a second for fifty thousand.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def run(self) -> None:
        """Look after it until cancelled; at rest there is nothing to do."""
        pause = COLLECT_SECONDS
        while True:
            await self._clock.sleep(pause)
            if gc.get_count()[2]:
                start = self._clock.monotonic()
                gc.collect()
                took = self._clock.monotonic() - start
                pause = max(COLLECT_SECONDS, took / COLLECT_SHARE)
