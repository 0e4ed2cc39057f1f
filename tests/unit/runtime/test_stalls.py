"""The stall watch names what has held the loop up, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator
from types import FrameType

import pytest

from common.api.labels import parse
from common.runtime import stalls
from common.runtime.stalls import StallWatch


@pytest.fixture
def watch() -> StallWatch:
    return StallWatch()


@pytest.fixture
async def watched(
    watch: StallWatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[pytest.LogCaptureFixture]:
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.1)
    caplog.clear()
    yield caplog
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def held_up(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "held up" in record.message]


async def test_a_long_callback_is_named(
    watch: StallWatch, watched: pytest.LogCaptureFixture
) -> None:
    start = time.thread_time()
    while time.thread_time() - start < 0.3 or not watch._place:
        parse("a in (b, c), d notin (e)")
        assert time.thread_time() - start < 10, "its thread has had no turn"
    async with asyncio.timeout(5):
        while not held_up(watched):
            await asyncio.sleep(0.01)
    [record] = held_up(watched)
    found = vars(record)
    assert found["ms"] >= 200
    assert found["cpu_ms"] >= 250
    assert "common/api/labels.py" in found["place"]


async def test_many_short_ones_are_none(watched: pytest.LogCaptureFixture) -> None:
    """What is sliced does not count, however long it takes in all.

    A host that takes a virtual CPU away makes a short turn a long one: its CPU time goes on.
    """
    turns = []
    for _ in range(100):
        turns.append(round(_burn(0.003) * 1e3))
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    long = [vars(record)["cpu_ms"] for record in held_up(watched)]
    assert len([ms for ms in long if ms >= 50]) <= len([ms for ms in turns if ms >= 40]), (
        f"told: {long}, turns: {sorted(turns)[-5:]}"
    )


async def test_a_turn_that_waits_is_seen_when_the_beat_meets_it(
    watched: pytest.LogCaptureFixture,
) -> None:
    """Such as one that reads from a slow disk: without CPU time, and without a place."""
    time.sleep(0.7)
    async with asyncio.timeout(5):
        while not held_up(watched):
            await asyncio.sleep(0.01)
    found = vars(held_up(watched)[0])
    assert found["ms"] >= 100
    assert found["cpu_ms"] < 50


@pytest.mark.usefixtures("watched")
async def test_samples_do_not_interrupt_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine one takes longer than the time between two."""
    under_way = ended = 0

    def slow(_: FrameType | None) -> str:
        nonlocal under_way, ended
        assert under_way == 0, "a sample was interrupted by another"
        under_way += 1
        _burn(5 * stalls.SAMPLE_SECONDS)
        under_way -= 1
        ended += 1
        return "somewhere"

    monkeypatch.setattr(stalls, "_place", slow)
    _burn(0.3)
    assert ended == 1


def _burn(seconds: float) -> float:
    """Take so much CPU time in one turn; how much it was in the end."""
    start = time.thread_time()
    while (spent := time.thread_time() - start) < seconds:
        pass
    return spent


async def test_nothing_is_left_of_it(watch: StallWatch) -> None:
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    assert signal.getitimer(signal.ITIMER_PROF)[0] > 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
