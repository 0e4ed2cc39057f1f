"""A part that fails is restarted alone; one that is essential may fail only so often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from common.runtime.parts import FAILURES_MAX, STEADY_SECONDS, Part, PartFailed, Parts
from tests.fakes.clock import FakeClock


class Fragile:
    """A part that fails whenever it is told to."""

    def __init__(self) -> None:
        self.starts = 0
        self._failure = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        self.starts += 1
        self._failure = asyncio.get_running_loop().create_future()
        await self._failure

    def fail(self, text: str = "broken") -> None:
        self._failure.set_exception(ValueError(text))

    def end(self) -> None:
        self._failure.set_result(None)


@asynccontextmanager
async def running(parts: Parts, clock: FakeClock) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(parts.run())
    await clock.advance(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_failure_is_one_parts() -> None:
    clock, weak, strong = FakeClock(), Fragile(), Fragile()
    parts = Parts([Part("weak", weak.run), Part("strong", strong.run)], clock)
    async with running(parts, clock) as task:
        weak.fail()
        await clock.advance(1.0)
        assert (weak.starts, strong.starts) == (2, 1)
        assert parts.problems(essential=False) == {"weak": "ValueError: broken"}
        assert parts.problems(essential=True) == {}
        await clock.advance(STEADY_SECONDS)
        assert parts.problems(essential=False) == {}
        assert not task.done()


async def test_a_part_that_ends_by_itself_is_started_again() -> None:
    clock, part = FakeClock(), Fragile()
    parts = Parts([Part("part", part.run)], clock)
    async with running(parts, clock):
        part.end()
        await clock.advance(1.0)
        assert part.starts == 2
        assert "ended" in parts.problems(essential=False)["part"]


async def test_what_is_not_essential_may_fail_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    clock, part = FakeClock(), Fragile()
    with caplog.at_level(logging.WARNING):
        async with running(Parts([Part("part", part.run)], clock), clock) as task:
            for _ in range(3 * FAILURES_MAX):
                part.fail()
                await clock.advance(31.0)
            assert part.starts == 3 * FAILURES_MAX + 1
            assert not task.done()
    whole = [record for record in caplog.records if record.exc_info]
    assert len(whole) == 1, "the traceback is logged once a row of failures"


async def test_an_essential_part_that_fails_again_and_again_ends_everything() -> None:
    clock, weak, other = FakeClock(), Fragile(), Fragile()
    parts = Parts([Part("weak", weak.run, essential=True), Part("other", other.run)], clock)
    async with running(parts, clock) as task:
        for _ in range(FAILURES_MAX - 1):
            weak.fail()
            await clock.advance(10.0)
            assert not task.done()
            assert list(parts.problems(essential=True)) == ["weak"]
        weak.fail()
        await clock.advance(0)
        with pytest.raises(PartFailed, match="weak failed 5 times"):
            await task


async def test_a_part_ends_everything_that_must_not_go_on() -> None:
    async def run() -> None:
        raise PartFailed("all begins again")

    clock = FakeClock()
    async with running(Parts([Part("part", run, essential=True)], clock), clock) as task:
        with pytest.raises(PartFailed, match="all begins again"):
            await task


async def test_an_essential_part_that_has_recovered_has_all_its_tries_again() -> None:
    clock, part = FakeClock(), Fragile()
    parts = Parts([Part("part", part.run, essential=True)], clock)
    async with running(parts, clock) as task:
        for _ in range(2 * FAILURES_MAX):
            part.fail()
            await clock.advance(STEADY_SECONDS + 10.0)
        assert not task.done()


async def test_a_group_of_errors_is_named_by_its_first() -> None:
    clock = FakeClock()

    async def grouped() -> None:
        raise ExceptionGroup("unhandled", [ExceptionGroup("inner", [OverflowError("too far")])])

    parts = Parts([Part("grouped", grouped)], clock)
    async with running(parts, clock):
        assert parts.problems(essential=False) == {"grouped": "OverflowError: too far"}
