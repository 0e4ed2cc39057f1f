"""Time as a dependency: whoever needs it takes a `Clock` by constructor."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where components get the time from, so that a test can move it."""

    def now(self) -> datetime:
        """The wall clock, as an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller until `seconds` have passed on this clock."""
        ...


class SystemClock:
    """The real clock of this machine."""

    def now(self) -> datetime:
        """The wall clock, as an aware datetime in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that asks the machine

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        return time.monotonic()  # noqa: TID251 - the one place that asks the machine

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller for `seconds`."""
        await asyncio.sleep(seconds)


async def sleep_or_event(clock: Clock, seconds: float, event: asyncio.Event) -> None:
    """Suspend the caller until `seconds` have passed, or until the event is set before."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
