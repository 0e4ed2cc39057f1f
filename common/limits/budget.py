"""Memory that many callers share: who wants more than is left waits for it, or is told to go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BudgetExceeded(Exception):
    """What was asked for was not given back by others in time."""


class MemoryBudget:
    """So many bytes in all, given out in the order in which they were asked for."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size_bytes: int, *, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold that many bytes for as long as the block runs. Raises BudgetExceeded.

        What is larger than the whole budget counts as all of it.
        """
        size_bytes = min(size_bytes, self.limit_bytes)
        await self._take(size_bytes, timeout_seconds)
        try:
            yield
        finally:
            self.used_bytes -= size_bytes
            self._serve()

    async def _take(self, size_bytes: int, timeout_seconds: float) -> None:
        if not self._waiting and self._fits(size_bytes):
            self.used_bytes += size_bytes
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            async with asyncio.timeout(timeout_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.used_bytes -= size_bytes  # it was given just before the caller gave up
            turn.cancel()
            self._serve()
            if isinstance(error, TimeoutError):
                text = f"{self.used_bytes} of {self.limit_bytes} bytes are in use"
                raise BudgetExceeded(text) from error
            raise

    def _fits(self, size_bytes: int) -> bool:
        return self.used_bytes + size_bytes <= self.limit_bytes

    def _serve(self) -> None:
        """Give to those who wait, in order, what fits now."""
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if not self._fits(size_bytes):
                return
            self._waiting.popleft()
            self.used_bytes += size_bytes
            turn.set_result(None)
