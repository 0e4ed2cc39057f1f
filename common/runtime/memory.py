"""Memory that is no longer used goes back to the system, where glibc would keep it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from common.runtime.clock import Clock

LOOK_SECONDS = 15.0
GROWN_BYTES = 16 << 20
LARGE_BYTES = 256 << 10
ARENAS = 2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_STATM = Path("/proc/self/statm")


def prepare() -> None:
    """Blocks of a quarter of a megabyte and more are mapped, and unmapped when they are freed.

    By itself glibc raises that limit to what was last freed, and then keeps such blocks. Does
    nothing on another C library.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, ARENAS)


class MemoryKeeper:
    """Gives freed memory back, now and then, when the process has grown since it last did."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._libc = ctypes.CDLL(None)
        self._floor_bytes = 0

    async def run(self) -> None:
        """Look after it until cancelled."""
        while hasattr(self._libc, "malloc_trim"):
            await self._clock.sleep(LOOK_SECONDS)
            if resident_bytes() > self._floor_bytes + GROWN_BYTES:
                self._libc.malloc_trim(0)
                self._floor_bytes = resident_bytes()
        await self._clock.sleep(float("inf"))


def resident_bytes() -> int:
    """What this process holds of the machine's memory."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
