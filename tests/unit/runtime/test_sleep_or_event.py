"""Waiting for a time or for an event, whichever comes first."""

import asyncio

import pytest

from common.runtime.clock import sleep_or_event
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize("first", ["time", "event", "neither"])
async def test_the_first_of_both_ends_the_wait_and_nothing_is_left(first: str) -> None:
    clock, event = FakeClock(), asyncio.Event()
    waiting = asyncio.ensure_future(sleep_or_event(clock, 10.0, event))
    await clock.advance(9.0)
    assert not waiting.done()
    if first == "time":
        await clock.advance(1.0)
    elif first == "event":
        event.set()
        await clock.advance(0.0)
    else:
        waiting.cancel()
        await clock.advance(0.0)
    assert waiting.done()
    assert waiting.cancelled() == (first == "neither")
    assert clock.sleepers == 0
