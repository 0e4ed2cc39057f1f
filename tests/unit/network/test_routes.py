"""Which routes a node has, and the commands that lead there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.network import commands, routes
from node.network.routes import (
    Network,
    Peer,
    PodNetwork,
    Route,
    changes,
    rules,
    wanted_routes,
)
from node.runtime.base import SandboxFailed

PEERS = (Peer("10.42.1.0/24", "192.168.7.1"), Peer("10.42.2.0/24", "192.168.7.2"))
NETWORK = Network("10.42.0.0/16", "10.43.0.0/16", PEERS)


def test_a_node_has_routes_to_the_others_its_own_block_and_services() -> None:
    found = wanted_routes(NETWORK, "192.168.7.1", "lan", "10.42.1.0/24")
    assert {route.destination: route.way for route in found.values()} == {
        "10.42.1.0/24": "unreachable",
        "10.42.2.0/24": "via 192.168.7.2",
        "10.43.0.0/16": "dev lan src 192.168.7.1",
    }


@pytest.mark.parametrize("block", ["0.0.0.0/0", "10.42.0.0/16", "192.168.0.0/16", "10.0.0.0/8"])
def test_a_block_that_is_not_of_the_cluster_is_not_taken(block: str) -> None:
    network = Network("10.42.0.0/16", "", (Peer(block, "192.168.7.9"),))
    assert block not in wanted_routes(network, "192.168.7.1", "lan", "10.42.1.0/24")


@pytest.mark.parametrize(
    "peer",
    [
        *[Peer("10.42.3.0/24", address) for address in ("fd00::1", "node3", "192.168.7", "")],
        *[Peer(block, "192.168.7.3") for block in ("fd00::/64", "10.42.3.1/24", "x", "")],
        *[
            Peer("10.42.3.0/24", address)
            for address in (
                "0.0.0.0",
                "127.0.0.1",
                "224.0.0.1",
                "255.255.255.255",
                "169.254.1.1",
                "192.168.7.1",
                "10.42.9.9",
                "10.43.0.1",
            )
        ],
        Peer("10.42.1.7/32", "192.168.7.3"),
        Peer("10.42.0.0/17", "192.168.7.3"),
    ],
)
def test_a_peer_that_is_refused_costs_the_others_nothing(peer: Peer) -> None:
    network = Network("10.42.0.0/16", "10.43.0.0/16", (peer, *PEERS))
    found = wanted_routes(network, "192.168.7.1", "lan", "10.42.1.0/24")
    assert found == wanted_routes(NETWORK, "192.168.7.1", "lan", "10.42.1.0/24")


def test_nothing_is_wanted_before_the_master_has_told() -> None:
    assert wanted_routes(Network(), "192.168.7.1", "lan", "10.42.1.0/24") == {}


def test_only_differences_are_written() -> None:
    wanted = wanted_routes(NETWORK, "192.168.7.1", "lan", "10.42.1.0/24")
    assert changes(wanted, wanted) == []
    old = {**wanted, "10.42.9.0/24": Route("10.42.9.0/24", "via 192.168.7.9")}
    old["10.42.2.0/24"] = Route("10.42.2.0/24", "via 192.168.7.77")
    del old["10.42.1.0/24"]
    assert sorted(changes(wanted, old)) == [
        "route del 10.42.9.0/24 via 192.168.7.9 proto 87",
        "route replace 10.42.2.0/24 via 192.168.7.2 proto 87",
        "route replace unreachable 10.42.1.0/24 proto 87",
    ]


def test_what_leaves_the_cluster_is_masqueraded() -> None:
    script = rules(NETWORK, "10.42.1.0/24")
    assert "ip saddr 10.42.1.0/24 ip daddr != 10.42.0.0/16 masquerade" in script


class Commands:
    """In place of the machine's programs: `ip` and `nft` that know one link and no route."""

    def __init__(self, refused: str = "") -> None:
        self.done: list[str] = []
        self._refused = refused

    def run(self, command: list[str], text: str = "", lines: Sequence[str] = ()) -> str:
        """Note a command; refuse the one that begins so."""
        if self._refused and " ".join(command).startswith(self._refused):
            raise SandboxFailed(f"{self._refused} is refused")
        self.done.append(f"{' '.join(command)} {text}")
        if "address" in command:
            return '[{"ifname": "lan", "addr_info": [{"local": "192.168.7.1"}]}]'
        return ""


@pytest.mark.parametrize("refused", ["forwarding", "nft -f", "ip -j -4 address", "ip -force"])
async def test_what_is_refused_keeps_nothing_else_from_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    machine = Commands(refused)
    for module in (routes, commands):
        monkeypatch.setattr(module, "run", machine.run)
    forwarding = tmp_path / ("none/ip_forward" if refused == "forwarding" else "ip_forward")
    if refused != "forwarding":
        forwarding.write_text("0")
    monkeypatch.setattr(routes, "FORWARDING", forwarding)
    offload = Offload()
    with pytest.raises(SandboxFailed, match=refused):
        await PodNetwork("192.168.7.1", offload, lambda: None).apply(NETWORK, "10.42.1.0/24")
    offload.close()
    done = "\n".join(machine.done)
    assert ("masquerade" in done) == (refused != "nft -f")
    assert ("10.42.2.0/24 via 192.168.7.2" in done) == (refused != "ip -force")
    assert refused == "forwarding" or forwarding.read_text() == "1"
