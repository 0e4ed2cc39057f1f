"""A machine with pods in namespaces of their own, a client outside, and what they tell each other.

The servers say who they are and whom they see; the clients come by TCP or UDP.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from common.runtime.offload import Offload
from node.kubeproxy.rules import Piece, piece
from node.kubeproxy.table import NodeFacts, Table
from node.network.routes import LINK_PREFIX, Network, rules
from tests.unit.kubeproxy.objects import VIP, endpoint, endpoint_slice, service

NODE_IP, POD, OUTSIDE, NODE_PORT = "192.0.2.1", "10.42.1.9", "203.0.113.5", 30080
GATEWAY = "169.254.1.1"
FACTS = NodeFacts("n1", (NODE_IP,))
BACKENDS = {"10.42.1.2": "n1", "10.42.1.3": "n2", "10.42.1.4": "n1"}
ALL = tuple(BACKENDS)
OWN_PORTS = itertools.count(20_000, 100)
"""Of clients, from there on: a port that had a flow a moment ago leads where that went, and the
kernel's choice is by chance.
"""
SERVER = """
import socket, sys, threading
tcp = socket.create_server(("", 8080), backlog=64)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 8080))
def datagrams():
    while True:
        asked, client = udp.recvfrom(99)
        udp.sendto(f"{sys.argv[1]} {client[0]} {asked.decode()}".encode(), client)
threading.Thread(target=datagrams, daemon=True).start()
def converse(made, client):
    with made:
        made.sendall(f"{sys.argv[1]} {client[0]}".encode())
        while asked := made.recv(99):
            made.sendall(f"{sys.argv[1]} {client[0]} {asked.decode()}".encode())
print("up", flush=True)
while True:
    threading.Thread(target=converse, args=tcp.accept(), daemon=True).start()
"""
CLIENT = """
import socket, sys
kind, address, port, count, wait, own = sys.argv[1:]
for number in range(int(count)):
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as door:
        door.settimeout(float(wait))
        door.bind(("", int(own) + number))
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


TALK = """
import socket, sys
kind, address, port = sys.argv[1:]
door = socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
door.settimeout(0.2 if kind == "udp" else 20)
door.bind(("", 40000))
door.connect((address, int(port)))
if kind == "tcp":
    door.recv(99)
def answer(question):
    for _ in range(100):
        door.send(question.encode())
        try:
            while (said := door.recv(99).decode().split())[2] != question:
                pass
            return said[0]
        except TimeoutError:  # a datagram is lost when its flow moves under way
            pass
for question in sys.stdin:
    print(answer(question.strip()), flush=True)
"""


def shell(script: str) -> str:
    """What a script prints on the thread's machine; it must succeed."""
    run = subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True)
    return run.stdout


def build() -> list[subprocess.Popen[str]]:
    """A node with an address and a default route, its pods, a client outside; the servers.

    The node has the rules of the pod network, too: what they drop, no proxy can deliver.
    """
    shell(
        "sysctl -qw net.ipv4.ip_forward=1; mkdir -p /run/pods; mount -t tmpfs pods /run/pods;"
        "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up;"
        f"ip address add {NODE_IP}/24 dev up0; ip route add default dev up0"
    )
    servers = []
    for number, address in enumerate((*BACKENDS, POD, OUTSIDE)):
        inside = f"nsenter --net=/run/pods/{address} ip"
        link = f"out{number}" if address == OUTSIDE else f"{LINK_PREFIX}{number}"
        shell(
            f"touch /run/pods/{address}; unshare --net=/run/pods/{address} ip link set lo up;"
            f"ip link add {link} type veth peer name eth0 netns /run/pods/{address};"
            f"ip address add {GATEWAY}/32 dev {link}; ip link set {link} up;"
            f"ip route add {address}/32 dev {link};"
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
    script = rules(Network(FACTS.cluster_cidr, FACTS.service_cidr), "10.42.1.0/24")
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
    return servers


def calls(client: str, kind: str, address: str, port: int, count: int, wait: float) -> list[str]:
    """What each connection of a client came to: `ENDPOINT CLIENT-AS-SEEN`, refused, dropped."""
    enter = [] if client == NODE_IP else ["nsenter", f"--net=/run/pods/{client}"]
    own = next(OWN_PORTS)
    asked = (kind, address, str(port), str(count), str(wait), str(own))
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


def changes(table: Table) -> dict[str, Piece]:
    """What a dataplane is told of it."""
    return {"default/web": piece(table.ports("default/web"), table.node)}


@asynccontextmanager
async def talking(machine: Offload, kind: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """One connection or UDP flow from a pod to the service: what is yielded asks who answers."""
    enter = ["nsenter", f"--net=/run/pods/{POD}", sys.executable, "-c", TALK]

    def start() -> subprocess.Popen[str]:
        command = [*enter, kind, VIP, "80"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(question: int) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{question}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    async def ask() -> str:
        # in another thread: the node's must be free for its proxy
        return await asyncio.to_thread(answer, next(questions))

    process, questions = await machine(start), itertools.count()
    try:
        yield ask
    finally:
        process.communicate()
