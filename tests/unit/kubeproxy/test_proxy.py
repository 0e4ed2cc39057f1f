"""The shell: lists, watches, coalesces and retries, on a fake gateway, dataplane and clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.etcd.errors import Compacted, Unavailable
from common.etcd.types import Event
from node.kubeproxy import objects
from node.kubeproxy.dataplane.base import DataplaneError
from node.kubeproxy.plan import Changes
from node.kubeproxy.proxy import SERVICES, SLICES, Prefix, Proxy
from node.kubeproxy.table import Table
from tests.fakes.clock import FakeClock
from tests.fakes.peers.gateway import Gateway, item
from tests.fakes.rng import SeededRng
from tests.unit.kubeproxy.objects import FACTS, endpoint, endpoint_slice, service


class Kernel:
    """A dataplane that notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Changes]] = []
        self.faults = 0
        self.fault: Exception = DataplaneError("busy")
        self.intact = True

    async def reload(self, changes: Changes) -> None:
        """Note, or fail."""
        self._take("reload", changes)
        self.intact = True

    async def apply(self, changes: Changes) -> None:
        """Note, or fail."""
        self._take("apply", changes)

    async def is_intact(self) -> bool:
        """What the test says."""
        return self.intact

    def _take(self, what: str, changes: Changes) -> None:
        if self.faults:
            self.faults -= 1
            raise self.fault
        self.calls.append((what, changes))

    @property
    def what(self) -> list[str]:
        """The kinds of transactions, in order."""
        return [what for what, _ in self.calls]


class Patient(SeededRng):
    """Takes nothing from any delay."""

    def random(self) -> float:
        """The least of chance."""
        return 0.0


class World:
    """A proxy with its surroundings."""

    def __init__(self, rng: SeededRng | None = None) -> None:
        self.gateway, self.kernel, self.clock = Gateway(), Kernel(), FakeClock()
        self.table = Table(FACTS)
        self.proxy = Proxy(
            self.gateway,  # type: ignore[arg-type]
            self.table,
            self.kernel,
            clock=self.clock,
            rng=rng or Patient(),
        )

    def endpoints(self, *addresses: str, told: bool = True) -> None:
        """Give service web these."""
        made = endpoint_slice(*(endpoint(one) for one in addresses))
        self.gateway.put(f"{SLICES}default/web-1", objects.encode(made), told=told)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A running proxy that has loaded one service without endpoints."""
    made = World()
    made.gateway.put(f"{SERVICES}default/web", objects.encode(service()))
    running = asyncio.create_task(made.proxy.run())
    await made.clock.advance(1)
    assert made.kernel.what == ["reload"]
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_change_is_applied_alone(world: World) -> None:
    world.endpoints("10.42.1.2")
    await world.clock.advance(1)
    assert [(w, set(c)) for w, c in world.kernel.calls[1:]] == [("apply", {"default/web"})]


async def test_a_storm_is_at_most_four_transactions_a_second(world: World) -> None:
    for number in range(1000):
        world.endpoints(f"10.42.{number // 200}.{number % 200 + 2}")
        await world.clock.advance(0.001)
    assert 1 <= len(world.kernel.calls[1:]) <= 5
    await world.clock.advance(1)
    (port,) = world.table.ports("default/web")
    assert [str(e.address) for e in port.endpoints] == ["10.42.4.201"]
    assert "10.42.4.201:8080" in str(world.kernel.calls[-1])


async def test_lost_history_is_listed_again_and_only_the_difference_applied(world: World) -> None:
    world.endpoints("10.42.1.2", told=False)
    world.gateway.end_watches(Compacted(5))
    await world.clock.advance(1)
    assert [(w, set(c)) for w, c in world.kernel.calls[1:]] == [("apply", {"default/web"})]
    assert world.gateway.lists == 4


async def test_rules_stay_while_nobody_answers(world: World) -> None:
    world.gateway.faults = [Unavailable("down")] * 20
    world.gateway.end_watches(Unavailable("down"))
    await world.clock.advance(30)
    assert world.gateway.faults
    assert world.kernel.what == ["reload"]
    await world.clock.advance(60)
    assert world.kernel.what == ["reload"]
    world.endpoints("10.42.1.2")
    await world.clock.advance(1)
    assert world.kernel.what == ["reload", "apply"]


async def test_proxies_do_not_ask_again_in_the_same_instant() -> None:
    """E5: those of all nodes lose a master at once."""
    asked = set()
    for seed in range(20):
        world = World(SeededRng(seed))
        world.gateway.faults = [Unavailable("down")] * 6
        running = asyncio.create_task(world.proxy.run())
        while not world.kernel.calls:
            await world.clock.advance(0.01)
        asked.add(round(world.clock.monotonic(), 2))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert len(asked) > 10
    assert max(asked) < 2.0


async def test_nothing_is_loaded_before_both_lists_are_there() -> None:
    world = World()
    world.gateway.faults = [Unavailable("down")] * 2
    running = asyncio.create_task(world.proxy.run())
    await world.clock.advance(0.1)
    assert world.kernel.calls == []
    await world.clock.advance(5)
    assert world.kernel.what == ["reload"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("fault", [DataplaneError("busy"), TimeoutError("of a socket")])
async def test_a_failed_transaction_is_made_good_by_a_whole_one(
    world: World, fault: Exception
) -> None:
    world.kernel.faults, world.kernel.fault = 3, fault
    world.endpoints("10.42.1.2")
    await world.clock.advance(30)
    ((what, changes),) = world.kernel.calls[1:]
    assert (what, set(changes)) == ("reload", {"default/web"})


async def test_rules_that_somebody_changed_are_repaired_within_30_s(world: World) -> None:
    world.kernel.intact = False
    await world.clock.advance(30)
    assert world.kernel.what == ["reload", "reload"]


async def test_an_object_that_cannot_be_read_stops_no_other(world: World) -> None:
    world.gateway.put(f"{SLICES}default/bad", b"{")
    world.endpoints("10.42.1.2")
    await world.clock.advance(1)
    assert "10.42.1.2:8080" in str(world.kernel.calls[-1])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 20)), max_size=30))
def test_old_and_repeated_revisions_change_nothing(told: list[tuple[str, int]]) -> None:
    """Whatever is repeated or late, each key has the newest value that came in order."""
    seen: dict[str, bytes] = {}
    prefix = Prefix("", seen.__setitem__, lambda key: None)
    wanted, last = {}, 0
    for key, revision in told:
        prefix.change([Event(False, item(key, str(revision).encode(), revision), None)])
        if revision > last:
            wanted[key], last = str(revision).encode(), revision
    assert (seen, prefix.revision) == (wanted, last)


def test_a_store_that_went_back_is_taken_as_it_is_now() -> None:
    seen: dict[str, bytes] = {}
    prefix = Prefix("", seen.__setitem__, seen.pop)  # type: ignore[arg-type]
    prefix.replace([item("a", b"old", 5), item("b", b"old", 6)], 9)
    prefix.replace([item("a", b"new", 5)], 7)
    assert (seen, prefix.revision) == ({"a": b"new"}, 7)
