"""Cycles of objects are collected before there are many, and nothing is done at rest."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from common.runtime.memory import COLLECT_SECONDS, CycleCollector
from tests.fakes.clock import FakeClock


class Cycle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
async def clock() -> AsyncIterator[FakeClock]:
    made = FakeClock()
    keeping = asyncio.create_task(CycleCollector(made).run())
    yield made
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def cycles() -> int:
    """How many are there."""
    return sum(isinstance(one, Cycle) for one in gc.get_objects())


async def test_cycles_go_within_half_a_second(clock: FakeClock) -> None:
    gc.collect()
    made = [Cycle() for _ in range(1000)]
    gc.collect(1)  # they have survived, as those of a call that lasts
    del made
    assert cycles() == 1000
    await clock.advance(COLLECT_SECONDS)
    assert cycles() == 0


async def test_at_rest_nothing_is_walked(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[None] = []
    monkeypatch.setattr(gc, "get_count", lambda: (5, 5, 0))
    monkeypatch.setattr(gc, "collect", lambda: collected.append(None))
    await clock.advance(60)
    assert not collected
