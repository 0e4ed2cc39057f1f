"""What holds the event loop up: callbacks that run longer than 50 ms are logged, with their place.

A timer of the loop says that it runs; a thread notices when that has not been said for too long,
and looks at what the loop's thread is doing. Both wake forty times a second, for a thousandth of a
core. A process that the machine itself keeps waiting has spent no CPU time: `cpu_ms` tells.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from types import FrameType

log = logging.getLogger(__name__)
LIMIT_SECONDS = 0.050
BEAT_SECONDS = 0.025
FRAMES = 6
_OURS = ("/common/", "/master/", "/node/", "/protos/")


class StallWatch:
    """Watches the loop that it runs on."""

    def __init__(self) -> None:
        self._beat = 0.0
        self._cpu_then = 0.0
        self._place = ""
        self._stop = threading.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        loop_thread = threading.get_ident()
        clock = time.pthread_getcpuclockid(loop_thread)
        self._stop.clear()
        self._note(clock)
        watcher = threading.Thread(
            target=self._look, args=(loop_thread,), name="stall watch", daemon=True
        )
        watcher.start()
        try:
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                self._tell(clock)
                self._note(clock)
        finally:
            self._stop.set()

    def _note(self, clock: int) -> None:
        self._place = ""
        self._cpu_then = time.clock_gettime(clock)
        self._beat = time.monotonic()  # noqa: TID251 - real time is what is watched

    def _tell(self, clock: int) -> None:
        """Log a stall that is over; on the loop, so that the line is whole."""
        late = time.monotonic() - self._beat - BEAT_SECONDS  # noqa: TID251 - as above
        if late > LIMIT_SECONDS:
            cpu_ms = round((time.clock_gettime(clock) - self._cpu_then) * 1e3)
            extra = {"ms": round(late * 1e3), "cpu_ms": cpu_ms, "place": self._place}
            log.warning("the event loop was held up", extra=extra)

    def _look(self, loop_thread: int) -> None:
        """In a thread of its own: where the loop is when it is late."""
        while not self._stop.wait(BEAT_SECONDS):
            late = time.monotonic() - self._beat - BEAT_SECONDS  # noqa: TID251 - as above
            if late > LIMIT_SECONDS / 2 and not self._place:
                frame = sys._current_frames().get(loop_thread)
                self._place = _place(frame)


def _place(frame: FrameType | None) -> str:
    """The innermost calls of ours, `file:line function`, the deepest first."""
    found = []
    with suppress(RuntimeError):
        for entry in reversed(traceback.extract_stack(frame)):
            at = max(entry.filename.rfind(ours) for ours in _OURS)
            if at >= 0:
                found.append(f"{entry.filename[at + 1 :]}:{entry.lineno} {entry.name}")
    return " < ".join(found[:FRAMES])
