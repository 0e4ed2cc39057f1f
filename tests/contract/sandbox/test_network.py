"""Routes, forwarding and masquerading in a real kernel: made, repaired, and only ours touched."""

import subprocess
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.kubeproxy.dataplane.libnftables import generation
from node.network.routes import FORWARDING, Network, Peer, PodNetwork

pytestmark = pytest.mark.netns
CIDR, NODE = "10.42.1.0/24", "192.168.7.1"
FIRST = Network("10.42.0.0/16", "10.43.0.0/16", (Peer("10.42.2.0/24", "192.168.7.2"),))
SECOND = Network("10.42.0.0/16", "10.43.0.0/16", (Peer("10.42.3.0/24", "192.168.7.3"),))


def run(command: str) -> str:
    """A command; its output."""
    return subprocess.check_output(command, shell=True, text=True)


@pytest.fixture
async def network(machine: Offload) -> PodNetwork:
    """The pod network of a machine with one link and a route of its admin's."""
    for command in (
        "ip link add lan type veth peer name far",
        f"ip addr add {NODE}/24 dev lan",
        "ip link set lan up",
        "ip link set far up",
        "ip route add 10.99.0.0/16 via 192.168.7.9",
        "nft add table ip mine",
    ):
        await machine(run, command)
    return PodNetwork(NODE, machine)


async def routes(machine: Offload) -> list[str]:
    """Our routes and the admin's, as ip prints them."""
    listed = await machine(run, "ip route show")
    return [line.strip() for line in listed.splitlines() if "kernel" not in line]


async def test_it_is_made_changed_and_repaired(machine: Offload, network: PodNetwork) -> None:
    await network.apply(FIRST, CIDR)
    assert await machine(Path.read_text, FORWARDING) == "1\n"
    found = await routes(machine)
    assert any(line.startswith("10.42.2.0/24 via 192.168.7.2") for line in found)
    assert any(line.startswith("10.43.0.0/16 dev lan") for line in found)
    assert "unreachable 10.42.1.0/24 proto 87" in found
    await network.apply(SECOND, CIDR)
    found = await routes(machine)
    assert not any("10.42.2.0" in line for line in found)
    assert any(line.startswith("10.42.3.0/24 via 192.168.7.3") for line in found)
    await machine(run, "ip route flush proto 87; nft delete table ip wherry-network")
    await network.apply(SECOND, CIDR)
    assert await routes(machine) == found
    assert "masquerade" in await machine(run, "nft list table ip wherry-network")
    assert any("10.99.0.0/16" in line for line in found), "the admin's route stays"
    assert "table ip mine" in await machine(run, "nft list tables")


async def test_applying_it_again_changes_nothing(machine: Offload, network: PodNetwork) -> None:
    await network.apply(FIRST, CIDR)
    before = await machine(generation)
    for _ in range(3):
        await network.apply(FIRST, CIDR)
    assert await machine(generation) == before
