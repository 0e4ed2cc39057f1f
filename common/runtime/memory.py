"""Memory that is no longer used goes back to the system, where glibc would keep it."""

from __future__ import annotations

import ctypes

from common.runtime.clock import Clock

TRIM_SECONDS = 15.0
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


class MemoryKeeper:
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
