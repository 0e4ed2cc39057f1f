"""What a node keeps of the cluster's network, on disk and in the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from node.network.keeper import NetworkKeeper
from node.network.routes import Network, Peer
from node.session.writer import DiskWriter
from tests.fakes.clock import FakeClock
from tests.fakes.kubelet import InlineOffload
from tests.fakes.sandbox import FakeRoutes

CIDR = "10.42.1.0/24"
GOOD = Peer("10.42.2.0/24", "192.168.7.2")


class Machine:
    """A disk, and one keeper after the other."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "network.json"
        self.clock = FakeClock()
        self.network = FakeRoutes()
        self.writer = DiskWriter(InlineOffload())
        self._writing = asyncio.create_task(self.writer.run())
        self._running: asyncio.Task[None] | None = None
        self.keeper = self._new()

    def _new(self) -> NetworkKeeper:
        return NetworkKeeper(self.network, self.file, clock=self.clock, writer=self.writer)

    async def start(self) -> None:
        """A keeper begins with what is on disk."""
        await self.stop()
        self.keeper = self._new()
        self.keeper.start(CIDR)
        self._running = asyncio.create_task(self.keeper.run())
        await self.clock.advance(0)

    async def tell(self, *peers: Peer) -> None:
        """The master tells of the network; answers when that is applied."""
        self.keeper.update(Network("10.42.0.0/16", "", peers), CIDR)
        await self.clock.advance(0)
        assert self._running is not None
        assert not self._running.done()

    async def stop(self) -> None:
        """The keeper ends."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def end(self) -> None:
        """The machine ends."""
        await self.stop()
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine whose keeper runs and has been told nothing."""
    made = Machine(tmp_path)
    await made.start()
    yield made
    await made.end()


async def test_what_was_told_outlives_a_restart(machine: Machine) -> None:
    assert machine.network.applied == []
    await machine.tell(GOOD)
    await machine.start()
    assert machine.network.applied == [[CIDR, GOOD.pod_cidr]] * 2


@pytest.mark.parametrize(
    "bad",
    [
        Peer("10.42.3.0/24", "fd00::1"),
        Peer("x", "192.168.7.3"),
        Peer("10.42.3.0/24", "127.0.0.1"),
        Peer("10.42.1.7/32", "192.168.7.3"),
    ],
)
async def test_a_peer_that_is_refused_is_logged_once_and_ends_nothing(
    machine: Machine, bad: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    await machine.tell(bad, GOOD)
    await machine.tell(bad, GOOD, Peer("10.42.4.0/24", "192.168.7.4"))
    await machine.tell(bad, GOOD)
    assert machine.network.applied[::2] == [[CIDR, GOOD.pod_cidr]] * 2
    [said] = caplog.records
    assert bad.address in vars(said)["object"]


async def test_a_disk_that_refuses_is_logged_and_ends_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.file.mkdir()
    await machine.tell(GOOD)
    assert machine.network.applied == [[CIDR, GOOD.pod_cidr]]
    assert [vars(said)["object"] for said in caplog.records] == [str(machine.file)]


async def test_a_network_that_is_told_before_its_parts_are_known_ends_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.keeper.update(Network("10.42.0.0/16", "", (GOOD,)), "")
    machine.keeper.update(Network("", "", (GOOD,)), CIDR)
    await machine.tell(GOOD)
    assert machine.network.applied == [[CIDR, GOOD.pod_cidr]]
    assert caplog.records == []


async def test_a_file_of_nonsense_is_said_and_ends_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    nonsense = Network("x", "", (GOOD,))
    machine.file.write_bytes(msgspec.json.encode(nonsense))
    await machine.start()
    await machine.clock.advance(60)
    assert len(caplog.records) == 1
    await machine.tell(GOOD)
    assert machine.network.applied[-1] == [CIDR, GOOD.pod_cidr]


async def test_what_the_kernel_refuses_is_said_once_and_tried_ever_more_rarely(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.network.refusal = "Nexthop has invalid gateway"
    await machine.tell(GOOD)
    for _ in range(120):
        await machine.clock.advance(1)
    assert 6 <= len(machine.network.applied) <= 12
    assert len(caplog.records) == 1
    machine.network.refusal = "something else"
    await machine.clock.advance(20)
    assert len(caplog.records) == 2
