"""The parts of a process: each runs until cancelled, and one that fails is restarted alone.

An error that nobody expected is the fault of one part and must not end the others. It is logged
once, the part starts again after a back-off, and until it has run for a while `problems` names it.
A part without which the rest is of no use is essential: when it fails again and again, `run` raises
and the process ends, for its supervisor to start it anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.runtime.backoff import Backoff
from common.runtime.clock import Clock

log = logging.getLogger(__name__)
STEADY_SECONDS = 60.0
"""A part that has run for so long has recovered."""
FAILURES_MAX = 5
"""An essential part may fail so often without recovering."""
RETRY = Backoff(initial_seconds=0.2, cap_seconds=30.0)


class Part(NamedTuple):
    """Something that runs for as long as the process does; `run` may be called again after it."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    essential: bool = False


class PartFailed(Exception):
    """An essential part has failed too often; a part raises it itself when it must not go on."""


@dataclass(slots=True)
class _Failing:
    count: int
    error: str
    restarted: float | None = None
    """When it began to run again (monotonic seconds), or None while it waits for that."""


class Parts:
    """Runs parts side by side."""

    def __init__(self, parts: Sequence[Part], clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._failing: dict[str, _Failing] = {}

    async def run(self) -> None:
        """Run every part until cancelled. Raises PartFailed."""
        tasks = [asyncio.create_task(self._keep(part), name=part.name) for part in self._parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def problems(self, *, essential: bool) -> dict[str, str]:
        """What is wrong with the parts of that kind that failed and have not recovered, by name."""
        kinds = {part.name: part.essential for part in self._parts}
        now = self._clock.monotonic()
        return {
            name: failing.error
            for name, failing in self._failing.items()
            if kinds[name] == essential and not _recovered(failing, now)
        }

    async def _keep(self, part: Part) -> None:
        """Run a part, again after each failure."""
        while True:
            error = await self._once(part)
            failing = self._failed(part, error)
            if part.essential and failing.count >= FAILURES_MAX:
                raise PartFailed(f"{part.name} failed {failing.count} times") from error
            await self._clock.sleep(RETRY.delay_seconds(failing.count))
            failing.restarted = self._clock.monotonic()

    async def _once(self, part: Part) -> Exception:
        """Run a part until it fails; answers how."""
        try:
            await part.run()
        except PartFailed:
            raise
        except Exception as error:  # noqa: BLE001 - the caller logs it
            return error
        return RuntimeError("it has ended by itself")

    def _failed(self, part: Part, error: Exception) -> _Failing:
        """Take note of a failure. The first of a row is logged whole, later ones are counted."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        text = f"{type(error).__name__}: {error}"[:500]
        known = self._failing.get(part.name)
        again = known is not None and not _recovered(known, self._clock.monotonic())
        count = known.count + 1 if known is not None and again else 1
        failing = self._failing[part.name] = _Failing(count, text)
        extra = {"object": part.name, "failures": count, "error": text}
        if again:
            log.warning("a part failed again", extra=extra)
        else:
            log.error("a part failed and is restarted", extra=extra, exc_info=error)
        return failing


def _recovered(failing: _Failing, now: float) -> bool:
    return failing.restarted is not None and now - failing.restarted >= STEADY_SECONDS
