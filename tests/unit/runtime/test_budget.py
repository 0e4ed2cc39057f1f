"""A budget is never exceeded, and comes back whole."""

from __future__ import annotations

import asyncio
import random

import pytest

from common.limits.budget import BudgetExceeded, MemoryBudget


async def test_whoever_fits_need_not_wait() -> None:
    budget = MemoryBudget(10)
    async with budget.hold(4, timeout_seconds=0), budget.hold(6, timeout_seconds=0):
        assert budget.used_bytes == 10
    assert budget.used_bytes == 0


async def test_who_waits_too_long_is_refused() -> None:
    budget = MemoryBudget(10)
    async with budget.hold(8, timeout_seconds=0):
        with pytest.raises(BudgetExceeded, match="8 of 10 bytes"):
            async with budget.hold(3, timeout_seconds=0.01):
                raise AssertionError("there was room")
        async with budget.hold(2, timeout_seconds=0):
            pass


async def test_what_is_larger_than_everything_waits_for_everything() -> None:
    budget = MemoryBudget(10)
    async with budget.hold(1000, timeout_seconds=0):
        assert budget.used_bytes == 10


async def test_a_large_one_is_not_overtaken_for_ever() -> None:
    budget, order = MemoryBudget(10), []

    async def worker(name: str, size: int) -> None:
        async with budget.hold(size, timeout_seconds=5):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name, size in (("a", 8), ("large", 10), ("b", 1), ("c", 1)):
            group.create_task(worker(name, size))
    assert order == ["a", "large", "b", "c"]


async def test_callers_who_give_up_take_nothing_along() -> None:
    budget, choice = MemoryBudget(100), random.Random(3)

    async def worker() -> None:
        async with budget.hold(choice.randrange(1, 120), timeout_seconds=choice.choice([0.0, 1.0])):
            assert 0 <= budget.used_bytes <= 100
            await asyncio.sleep(choice.choice([0.0, 0.0005]))

    tasks = [asyncio.create_task(worker()) for _ in range(300)]
    for task in tasks[::3]:
        await asyncio.sleep(0)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    allowed = (asyncio.CancelledError, BudgetExceeded, type(None))
    assert all(isinstance(result, allowed) for result in results)
    assert budget.used_bytes == 0
