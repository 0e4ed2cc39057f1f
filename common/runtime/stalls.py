"""What holds the event loop up: turns that run longer than 50 ms are logged, with their place.

A timer of the process's CPU time interrupts it a hundred times a second, and not at all while it
rests: who looks whether the loop is well must not keep it awake. Each time a callback is left for
the loop's next turn. What comes late there has waited for a long turn. A turn that waits, for a
disk say, takes no CPU time; a slow beat of the loop notices those that it meets. So does it when
the machine itself keeps the process waiting: `cpu_ms` tells.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from types import FrameType

log = logging.getLogger(__name__)
LIMIT_SECONDS = 0.050
SAMPLE_SECONDS = 0.010
"""Of CPU time: so much of what was before a turn may be taken for a part of it."""
BEAT_SECONDS = 0.5
FRAMES = 6
_OURS = ("/common/", "/master/", "/node/", "/protos/")


class StallWatch:
    """Watches the loop that it runs on, which must be the main thread's. One in a process."""

    def __init__(self) -> None:
        self._cpu_then = 0.0
        """The loop's CPU time at the last callback: the current turn has not begun before."""
        self._since = 0.0
        """When the turn that was interrupted began."""
        self._told = 0.0
        self._waiting = False
        self._place = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._begin()
        former = signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS)
        try:
            while True:
                due = _now() + BEAT_SECONDS
                await asyncio.sleep(BEAT_SECONDS)
                if _now() - due > LIMIT_SECONDS and self._told < due:
                    self._tell(due)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, former)

    def _begin(self) -> None:
        self._cpu_then = time.clock_gettime(self._clock)
        self._place = ""

    def _spent(self) -> float:
        """CPU time since the last callback: that of the current turn, and at most a sample more."""
        return time.clock_gettime(self._clock) - self._cpu_then

    def _sample(self, _: int, frame: FrameType | None) -> None:
        """In the midst of a turn: where it is, if it is long already.

        The next comes so long after this one has ended: on a machine where one takes longer than
        that, samples would be interrupted by samples without end.
        """
        spent = self._spent()
        if spent > LIMIT_SECONDS / 2 and not self._place:
            self._place = _place(frame)
        if not self._waiting:
            self._waiting = True
            self._since = _now() - spent
            self._loop.call_soon_threadsafe(self._next_turn)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_SECONDS)

    def _next_turn(self) -> None:
        """The turn that was interrupted is over."""
        self._waiting = False
        if self._spent() - SAMPLE_SECONDS > LIMIT_SECONDS:
            self._tell(self._since)
        self._begin()

    def _tell(self, since: float) -> None:
        """Log a stall that is over; on the loop, so that the line is whole."""
        ms = round((_now() - since) * 1e3)
        cpu_ms = round(max(0.0, self._spent() - SAMPLE_SECONDS) * 1e3)
        extra = {"ms": ms, "cpu_ms": cpu_ms, "place": self._place}
        log.warning("the event loop was held up", extra=extra)
        self._told = _now()
        self._begin()


def _now() -> float:
    return time.monotonic()  # noqa: TID251 - real time is what is watched


def _place(frame: FrameType | None) -> str:
    """The innermost calls of ours, `file:line function`, the deepest first."""
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        at = max(file.rfind(ours) for ours in _OURS)
        if at >= 0:
            lines.append(f"{file[at + 1 :]}:{frame.f_lineno} {name}")
        frame = frame.f_back
    return " < ".join(lines)
