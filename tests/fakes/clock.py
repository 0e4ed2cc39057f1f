"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

_START = datetime(2030, 1, 1, tzinfo=UTC)
_TURNS = 20


class FakeClock:
    """A `Clock` whose sleepers wake by `advance` only."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = 0

    def now(self) -> datetime:
        """The fake wall clock."""
        return self._start + timedelta(seconds=self._elapsed)

    def set_back(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._start -= timedelta(seconds=seconds)

    def monotonic(self) -> float:
        """Seconds that tests have advanced."""
        return self._elapsed

    def pass_at_once(self, seconds: float) -> None:
        """Time passes while somebody works and nobody else runs."""
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._sequence, wake))
        await wake

    @property
    def sleepers(self) -> int:
        """How many callers sleep now."""
        return sum(not wake.done() for _, _, wake in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move time from one due sleeper to the next, and let each run before going on."""
        target = self._elapsed + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, wake = heapq.heappop(self._sleepers)
            self._elapsed = due
            if not wake.done():
                wake.set_result(None)
                await self._settle()
        self._elapsed = target
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
