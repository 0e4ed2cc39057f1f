"""An endpoint goes: what is new goes elsewhere, UDP flows move, TCP connections are left alone.

The whole proxy but for its connection to a master: the change is told to its watch, and what is
measured is packets.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from common.runtime.clock import SystemClock
from common.runtime.offload import Offload
from common.runtime.rng import SystemRng
from node.kubeproxy import objects
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.plan import Changes
from node.kubeproxy.proxy import SERVICES, SLICES, Proxy
from node.kubeproxy.table import Table
from tests.contract.dataplane.machine import BACKENDS, FACTS, POD, a_table, calls, changes, talking
from tests.fakes.peers.gateway import Gateway
from tests.unit.kubeproxy.objects import VIP, endpoint, endpoint_slice, service

pytestmark = pytest.mark.netns
FIRST, SECOND = "10.42.1.2", "10.42.1.4"
SECONDS_MAX = 1.0
"""From the change's arrival at the proxy to the flow's first answer from elsewhere."""
DEADLINE_SECONDS = 30.0
PORTS = tuple({"name": kind, "port": 80, "protocol": kind.upper()} for kind in ("tcp", "udp"))
TARGETS = tuple({**port, "port": 8080} for port in PORTS)


def tell(gateway: Gateway, *backends: str) -> None:
    """The service has these endpoints from now on."""
    made = endpoint_slice(*(endpoint(one, BACKENDS[one]) for one in backends), ports=TARGETS)
    gateway.put(f"{SLICES}default/web-1", objects.encode(made))


def a_gateway(*backends: str) -> Gateway:
    """It knows of one service, with these endpoints."""
    made = Gateway()
    made.put(f"{SERVICES}default/web", objects.encode(service(ports=PORTS)))
    tell(made, *backends)
    return made


class Told(NftablesDataplane):
    """Says when it has loaded its rules."""

    def __init__(self, machine: Offload) -> None:
        super().__init__(FACTS, machine)
        self.loaded = asyncio.Event()

    async def reload(self, changes: Changes) -> None:
        """Load, and say so."""
        await super().reload(changes)
        self.loaded.set()


@asynccontextmanager
async def a_proxy(machine: Offload, gateway: Gateway) -> AsyncIterator[None]:
    """A proxy that has loaded its rules; when it ends they stay, as after a kill."""
    dataplane = Told(machine)
    clock, rng = SystemClock(), SystemRng()
    proxy = Proxy(gateway, Table(FACTS), dataplane, clock=clock, rng=rng)  # type: ignore[arg-type]
    running = asyncio.create_task(proxy.run())
    try:
        await asyncio.wait_for(dataplane.loaded.wait(), DEADLINE_SECONDS)
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def seconds_until(target: str, flow: Callable[[], Awaitable[str]]) -> float:
    """How long a flow goes elsewhere from now on."""
    start = time.monotonic()
    while await flow() != target:
        assert time.monotonic() < start + DEADLINE_SECONDS, f"the flow does not move to {target}"
    return time.monotonic() - start


async def test_an_endpoint_that_goes_gets_nothing_new_within_a_second(machine: Offload) -> None:
    """The median of some moves: one of them may meet a machine that is busy with something else."""
    gateway, seconds = a_gateway(FIRST), []
    async with (
        a_proxy(machine, gateway),
        talking(machine, "udp") as flow,
        talking(machine, "tcp") as connection,
    ):
        assert await flow() == await connection() == FIRST
        for target in (SECOND, FIRST, SECOND, FIRST, SECOND):
            tell(gateway, target)
            seconds.append(await seconds_until(target, flow))
        assert statistics.median(seconds) <= SECONDS_MAX, seconds
        found = await machine(calls, POD, "tcp", VIP, 80, 10, 20.0)
        assert {line.split()[0] for line in found} == {SECOND}
        assert await connection() == FIRST


async def test_a_flow_stays_when_another_endpoint_comes(machine: Offload) -> None:
    dataplane = NftablesDataplane(FACTS, machine)
    await dataplane.reload(changes(a_table((FIRST,), "UDP")))
    async with talking(machine, "udp") as flow:
        assert await flow() == FIRST
        await dataplane.apply(changes(a_table((FIRST, SECOND), "UDP")))
        assert await flow() == FIRST


async def test_a_flow_moves_whose_endpoint_went_while_no_proxy_ran(machine: Offload) -> None:
    gateway = a_gateway(FIRST)
    async with talking(machine, "udp") as flow:
        async with a_proxy(machine, gateway):
            assert await flow() == FIRST
        tell(gateway, SECOND)
        assert await flow() == FIRST
        async with a_proxy(machine, gateway):
            assert await flow() == SECOND
