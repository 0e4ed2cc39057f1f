"""Routes, forwarding and masquerading in a real kernel: made, repaired, and only ours touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.kubeproxy.dataplane.libnftables import generation
from node.network.routes import FORWARDING, Network, Peer, PodNetwork
from node.network.sandbox import NamespaceSandbox, link_name
from node.runtime.base import SandboxFailed
from tests.contract.sandbox.conftest import a_spec

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
    return PodNetwork(NODE, machine, lambda: None)


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


async def test_a_peer_that_is_not_on_the_link_harms_its_own_route_alone(
    machine: Offload, network: PodNetwork
) -> None:
    peers = (
        Peer("10.42.5.0/24", "8.8.8.8"),
        *FIRST.peers,
        Peer("10.42.6.0/24", "192.0.2.1"),
        *SECOND.peers,
    )
    told = Network("10.42.0.0/16", "10.43.0.0/16", peers)
    with pytest.raises(SandboxFailed, match=r"10\.42\.5\.0/24 via 8\.8\.8\.8") as refused:
        await network.apply(told, CIDR)
    assert "10.42.2.0/24" not in str(refused.value)
    found = await routes(machine)
    assert any(line.startswith("10.42.2.0/24 via 192.168.7.2") for line in found)
    assert any(line.startswith("10.42.3.0/24 via 192.168.7.3") for line in found)
    assert not any("8.8.8.8" in line for line in found)
    assert "masquerade" in await machine(run, "nft list table ip wherry-network")


SENDER = r"""
import socket, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
body = b"from " + source.encode()
udp = (4000).to_bytes(2, "big") + port.to_bytes(2, "big") + (8 + len(body)).to_bytes(2, "big")
udp += bytes(2) + body
head = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0"
head += socket.inet_aton(source) + socket.inet_aton(target)
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(head + udp, (target, 0))
"""


@pytest.mark.parametrize("loosened", [False, True])
async def test_a_pod_sends_from_no_address_but_its_own(
    machine: Offload, network: PodNetwork, tmp_path: Path, loosened: bool
) -> None:
    """As root in the pod with NET_RAW: another pod's address, the node's, another node's, and
    the world's. `loosened` is a machine whose rp_filter is 2 for all links, as many have it."""
    await machine(run, f"echo {2 if loosened else 0} > /proc/sys/net/ipv4/conf/all/rp_filter")
    sandbox = NamespaceSandbox(tmp_path / "sandboxes", machine)
    one, two = await sandbox.create(a_spec(2)), await sandbox.create(a_spec(3))
    await network.apply(FIRST, CIDR)
    script = tmp_path / "send.py"
    script.write_text(SENDER)

    def heard(source: str) -> bool:
        """Whether a packet of `one` from that address reaches `two`; one from its own follows."""
        listening = ["nsenter", f"--net={two.netns_path}", sys.executable, "-c", LISTENER]
        with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            for address in (source, one.address):
                sending = ["nsenter", f"--net={one.netns_path}", sys.executable, str(script)]
                subprocess.run([*sending, address, two.address, "5000"], check=True)
            said = listener.stdout.readlines()
        assert said[-1] == f"from {one.address}\n"
        return len(said) > 1

    for source in ("10.42.7.9", two.address, NODE, "10.42.2.8", "192.0.2.77", "127.0.0.1"):
        assert not await machine(heard, source), source
    await machine(run, "nft flush chain ip wherry-network sources")
    await machine(run, "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
    assert await machine(heard, "10.42.2.8"), (
        "the packets are sound: it is the rule that keeps them"
    )


LISTENER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
    end.bind(("0.0.0.0", 5000))
    end.settimeout(10)
    print("listening", flush=True)
    while True:
        body = end.recv(1000).decode()
        print(body, flush=True)
        if body == "from 10.42.7.2":
            break
"""


async def test_a_node_speaks_no_ipv6_with_pods(
    machine: Offload, network: PodNetwork, tmp_path: Path
) -> None:
    sandbox = NamespaceSandbox(tmp_path / "sandboxes", machine)
    link = link_name((await sandbox.create(a_spec())).pod_uid)
    setting = Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6")
    if await machine(setting.exists):
        assert await machine(setting.read_text) == "1\n"
    assert "inet6" not in await machine(run, f"ip address show {link}")
