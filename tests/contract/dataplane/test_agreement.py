"""Each client's connections go where `model.route` says, on a machine with pods in namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.runtime.offload import Offload
from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.model import route
from node.kubeproxy.rules import piece
from node.kubeproxy.table import NodeFacts, Table
from tests.fakes.sandbox import own_machine
from tests.unit.kubeproxy.objects import VIP, endpoint, endpoint_slice, service

pytestmark = pytest.mark.netns
NODE_IP, POD, OUTSIDE, NODE_PORT = "192.0.2.1", "10.42.1.9", "203.0.113.5", 30080
GATEWAY = "169.254.1.1"
FACTS = NodeFacts("n1", (NODE_IP,))
BACKENDS = {"10.42.1.2": "n1", "10.42.1.3": "n2", "10.42.1.4": "n1"}
SERVER = """
import socket, sys, threading
tcp = socket.create_server(("", 8080), backlog=64)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 8080))
def datagrams():
    while True:
        _, client = udp.recvfrom(99)
        udp.sendto(f"{sys.argv[1]} {client[0]}".encode(), client)
threading.Thread(target=datagrams, daemon=True).start()
print("up", flush=True)
while True:
    made, client = tcp.accept()
    made.sendall(f"{sys.argv[1]} {client[0]}".encode())
    made.close()
"""
CLIENT = """
import socket, sys
kind, address, port, count, wait = sys.argv[1:]
for _ in range(int(count)):
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as door:
        door.settimeout(float(wait))
        try:
            door.connect((address, int(port)))
            if kind == "udp":
                door.send(b"?")
            print(door.recv(99).decode())
        except (ConnectionRefusedError, PermissionError):  # of the node itself: EPERM
            print("refused")
        except TimeoutError:
            print("dropped")
"""


def shell(script: str) -> str:
    """What a script prints on the thread's machine; it must succeed."""
    run = subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True)
    return run.stdout


def build() -> list[subprocess.Popen[str]]:
    """A node with an address and a default route, its pods, a client outside; the servers."""
    shell(
        "sysctl -qw net.ipv4.ip_forward=1; mkdir -p /run/pods; mount -t tmpfs pods /run/pods;"
        "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up;"
        f"ip address add {NODE_IP}/24 dev up0; ip route add default dev up0"
    )
    servers = []
    for number, address in enumerate((*BACKENDS, POD, OUTSIDE)):
        inside = f"nsenter --net=/run/pods/{address} ip"
        shell(
            f"touch /run/pods/{address}; unshare --net=/run/pods/{address} ip link set lo up;"
            f"ip link add v{number} type veth peer name eth0 netns /run/pods/{address};"
            f"ip address add {GATEWAY}/32 dev v{number}; ip link set v{number} up;"
            f"ip route add {address}/32 dev v{number};"
            f"{inside} address add {address}/32 dev eth0; {inside} link set eth0 up;"
            f"{inside} route add {GATEWAY} dev eth0; {inside} route add default via {GATEWAY}"
        )
        if address in BACKENDS:
            enter = ["nsenter", f"--net=/run/pods/{address}"]
            command = [*enter, sys.executable, "-c", SERVER, address]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            servers.append(server)
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
    return servers


@pytest.fixture
async def machine() -> AsyncIterator[Offload]:
    """The thread that lives on the node."""
    offload = await own_machine()
    servers = await offload(build)
    yield offload
    for server in servers:
        server.kill()
        server.communicate()
    offload.close()


def calls(client: str, kind: str, address: str, port: int, count: int, wait: float) -> list[str]:
    """What each connection of a client came to: `ENDPOINT CLIENT-AS-SEEN`, refused, dropped."""
    enter = [] if client == NODE_IP else ["nsenter", f"--net=/run/pods/{client}"]
    asked = (kind, address, str(port), str(count), str(wait))
    command = [*enter, sys.executable, "-c", CLIENT, *asked]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def a_table(backends: tuple[str, ...], protocol: str, **spec: Any) -> Table:
    """One service with a node port."""
    table = Table(FACTS)
    port = {"port": 80, "protocol": protocol, "nodePort": NODE_PORT}
    table.put_service("default/web", service(ports=(port,), **spec))
    ends = [endpoint(one, BACKENDS[one]) for one in backends]
    ports = ({"port": 8080, "protocol": protocol},)
    table.put_slice("default/web-1", endpoint_slice(*ends, ports=ports))
    return table


ALL, LOCAL = tuple(BACKENDS), {"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("backends", "protocol", "spec"),
    [
        (ALL, "TCP", {}),
        (ALL, "UDP", {}),
        (ALL, "TCP", LOCAL),
        (("10.42.1.3",), "TCP", LOCAL),
        ((), "TCP", {}),
        ((), "UDP", {}),
        (("10.42.1.2",), "TCP", {}),
    ],
)
async def test_packets_go_where_the_model_says(
    machine: Offload, backends: tuple[str, ...], protocol: str, spec: dict[str, str]
) -> None:
    table = a_table(backends, protocol, **spec)
    dataplane = NftablesDataplane(FACTS, machine)
    await dataplane.reload({"default/web": piece(table.ports("default/web"), FACTS)})
    kind = protocol.lower()
    for client in (POD, OUTSIDE, NODE_IP, "10.42.1.2"):
        for address, port in ((VIP, 80), (NODE_IP, NODE_PORT)):
            wanted = route(table, client, address, port, kind)
            served = wanted.fate == "endpoints"
            count = 3 * len(wanted.endpoints) if served else 1
            wait = 1.0 if wanted.fate == "dropped" else 20.0
            found = await machine(calls, client, kind, address, port, count, wait)
            where = Counter(line.split()[0] for line in found)
            if not served:
                assert where == {wanted.fate: 1}, wanted
                continue
            assert where == {one.address: 3 for one in wanted.endpoints}, wanted
            if wanted.masqueraded and client not in (NODE_IP, "10.42.1.2"):
                assert {line.split()[1] for line in found}.isdisjoint({client}), wanted
            if not wanted.masqueraded and client != "10.42.1.2":
                assert {line.split()[1] for line in found} == {client}, wanted


async def test_a_client_stays_with_its_endpoint_when_others_come(machine: Offload) -> None:
    dataplane = NftablesDataplane(FACTS, machine)
    seen = set()
    for backends in (ALL[:2], ALL):
        table = a_table(backends, "TCP", sessionAffinity="ClientIP")
        changes = {"default/web": piece(table.ports("default/web"), FACTS)}
        await (dataplane.apply(changes) if seen else dataplane.reload(changes))
        seen |= set(await machine(calls, POD, "tcp", VIP, 80, 20, 20.0))
    assert len(seen) == 1


async def test_a_flush_is_noticed_and_loading_repairs_it(machine: Offload) -> None:
    dataplane = NftablesDataplane(FACTS, machine)
    table = a_table(ALL, "TCP")
    changes = {"default/web": piece(table.ports("default/web"), FACTS)}
    await dataplane.reload(changes)
    assert await dataplane.is_intact()
    await machine(shell, "nft flush table ip wherry-proxy")
    assert not await dataplane.is_intact()
    await dataplane.reload({})
    found = await machine(calls, POD, "tcp", VIP, 80, 6, 20.0)
    assert Counter(line.split()[0] for line in found) == dict.fromkeys(ALL, 2)


FLOW = """
import socket, sys
door = socket.socket(type=socket.SOCK_DGRAM)
door.bind(("", 40000))
door.settimeout(20)
door.connect((sys.argv[1], 80))
for _ in sys.stdin:
    door.send(b"?")
    print(door.recv(99).decode().split()[0], flush=True)
"""


async def test_a_udp_flow_moves_when_its_endpoint_goes(machine: Offload) -> None:
    """The same port of the same client: only the connection table can have held it."""
    dataplane = NftablesDataplane(FACTS, machine)

    def changes(*backends: str) -> dict[str, Any]:
        return {"default/web": piece(a_table(backends, "UDP").ports("default/web"), FACTS)}

    def start() -> subprocess.Popen[str]:
        command = ["nsenter", f"--net=/run/pods/{POD}", sys.executable, "-c", FLOW, VIP]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(flow: subprocess.Popen[str]) -> str:
        assert flow.stdin is not None and flow.stdout is not None
        flow.stdin.write("\n")
        flow.stdin.flush()
        return flow.stdout.readline().strip()

    await dataplane.reload(changes("10.42.1.2"))
    flow = await machine(start)
    assert await machine(ask, flow) == "10.42.1.2"
    await dataplane.apply(changes("10.42.1.2", "10.42.1.4"))
    assert await machine(ask, flow) == "10.42.1.2"
    await dataplane.apply(changes("10.42.1.4"))
    assert await machine(ask, flow) == "10.42.1.4"
    flow.communicate()
