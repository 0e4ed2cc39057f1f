"""What readers have not taken: counted once, and whoever is stalled makes room for others."""

from __future__ import annotations

import asyncio
import random

import pytest

from common.limits.budget import BudgetExceeded
from common.limits.unread import STALLED_SECONDS, TURN_SECONDS, Holding, Unread
from tests.fakes.clock import FakeClock


class World:
    """A hundred bytes, and who was cut off."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.unread = Unread(100, self.clock)
        self.gone: list[str] = []

    def holding(self, name: str, *items: bytes, owner: str = "") -> Holding:
        """A reader for whom items are held, and whose turn it is from now on."""
        made = self.unread.hold(owner or name, lambda: self.gone.append(name))
        made.add(items)
        made.waiting = self.clock.monotonic()
        return made


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_shared_is_counted_once(world: World) -> None:
    shared, own = bytes(60), bytes(30)
    first, second = world.holding("a", shared, own), world.holding("b", shared, shared)
    assert world.unread.used_bytes == 90
    first.clear()
    assert world.unread.used_bytes == 60
    with second:
        pass
    assert world.unread.used_bytes == 0


async def test_the_stalled_reader_of_the_largest_owner_goes_first(world: World) -> None:
    small = world.holding("small", bytes(10), owner="other")
    await world.clock.advance(0.1)
    old, newer = (world.holding(name, bytes(40), owner="large") for name in ("old", "newer"))
    await world.clock.advance(STALLED_SECONDS)
    newer.waiting = world.clock.monotonic()
    world.holding("last", bytes(50))
    assert world.gone == ["old"]
    assert (old.size_bytes, newer.size_bytes, small.size_bytes) == (0, 40, 10)
    assert world.unread.used_bytes == 100


async def test_who_reads_all_the_time_has_a_turn_and_no_more(world: World) -> None:
    slow = world.holding("slow", bytes(80))
    for _ in range(int(TURN_SECONDS / STALLED_SECONDS * 2)):
        world.holding("x", bytes(80)).clear()
        assert world.gone == []
        await world.clock.advance(STALLED_SECONDS / 2)
        slow.waiting = world.clock.monotonic()
    world.holding("last", bytes(80))
    assert world.gone == ["slow"]


async def test_who_is_stalled_is_cut_off_by_what_comes_for_it(world: World) -> None:
    """Nobody else need come: a watch's events queue up while its connection is full."""
    stalled = world.holding("stalled", bytes(80))
    stalled.add([bytes(40)])
    assert world.gone == [], "it has not been its turn for long"
    await world.clock.advance(STALLED_SECONDS)
    stalled.add([bytes(40)])
    assert world.gone == ["stalled"]
    assert world.unread.used_bytes == 0


async def test_only_a_reader_whose_turn_it_is_can_be_slow(world: World) -> None:
    """What takes the server long, as to delete a thousand objects, is not the reader's fault."""
    reader = world.unread.hold("reader", lambda: world.gone.append("reader"))
    reader.add([bytes(80)])
    with reader.turn():
        await world.clock.advance(STALLED_SECONDS / 2)
    await world.clock.advance(TURN_SECONDS)
    world.holding("x", bytes(80)).clear()
    assert world.gone == []
    with reader.turn():
        world.holding("y", bytes(80))
    assert world.gone == ["reader"]


async def test_a_newcomer_waits_for_room(world: World) -> None:
    reading = world.holding("reading", bytes(80))
    late = world.unread.hold("late", lambda: None)
    waiting = asyncio.create_task(late.fit([bytes(50)], timeout_seconds=5.0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    reading.clear()
    await waiting
    assert world.unread.used_bytes == 50
    assert world.gone == []


async def test_who_waits_too_long_is_told_so(world: World) -> None:
    world.holding("reading", bytes(80))
    late = world.unread.hold("late", lambda: None)
    with pytest.raises(BudgetExceeded, match="80 bytes of answers are unread"):
        await late.fit([bytes(50)], timeout_seconds=0.0)
    assert world.unread.used_bytes == 80


async def test_what_is_larger_than_all_is_let_in_alone(world: World) -> None:
    large = world.unread.hold("large", lambda: None)
    await large.fit([bytes(500)], timeout_seconds=0.0)
    assert world.unread.used_bytes == 500
    await large.fit([bytes(500)], timeout_seconds=0.0)
    assert world.gone == []


async def test_what_another_holds_already_takes_no_room(world: World) -> None:
    shared = bytes(90)
    world.holding("a", shared)
    second = world.unread.hold("b", lambda: None)
    await second.fit([shared], timeout_seconds=0.0)
    assert world.unread.used_bytes == 90


async def test_nothing_is_lost_over_many_turns(world: World) -> None:
    choice = random.Random(8)
    items = [bytes(choice.randrange(1, 20)) for _ in range(12)]
    holdings = [world.unread.hold(f"u{n % 3}", lambda: None) for n in range(6)]
    for _ in range(2_000):
        one = choice.choice(holdings)
        if choice.random() < 0.4:
            one.drop(choice.randrange(10))
        else:
            one.add(choice.choices(items, k=3))
        await world.clock.advance(choice.random())
        held = {id(item): len(item) for each in holdings for item in each.items}
        assert world.unread.used_bytes == sum(held.values())
        assert all(each.size_bytes == sum(map(len, each.items)) for each in holdings)
    for each in holdings:
        each.clear()
    assert world.unread.used_bytes == 0
