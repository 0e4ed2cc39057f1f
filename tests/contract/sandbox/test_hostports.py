"""Ports of the machine that lead to pods: real calls, from the machine, from others, from pods."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.network.sandbox import NamespaceSandbox
from node.runtime.base import HostPort, SandboxFailed, SandboxStatus
from tests.contract.sandbox.conftest import a_spec

pytestmark = pytest.mark.netns
NODE, OTHER, OUTSIDE = "192.168.7.1", "192.168.7.2", "192.168.7.9"
SERVER = r"""
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "UDP" else socket.SOCK_STREAM
server = socket.socket(socket.AF_INET, kind)
server.bind((sys.argv[2], int(sys.argv[3])))
if kind == socket.SOCK_STREAM:
    server.listen()
print("ready", flush=True)
while True:
    if kind == socket.SOCK_DGRAM:
        _, peer = server.recvfrom(100)
        server.sendto((sys.argv[4] + " to " + peer[0]).encode(), peer)
    else:
        connection, peer = server.accept()
        connection.sendall((sys.argv[4] + " to " + peer[0]).encode())
        connection.close()
"""
CALL = r"""
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "UDP" else socket.SOCK_STREAM
caller = socket.socket(socket.AF_INET, kind)
caller.settimeout(2)
try:
    caller.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM:
        caller.send(b"x")
    print(caller.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


def inside(status: SandboxStatus | None) -> list[str]:
    """The words before a program that runs in a pod, or on the machine."""
    return ["nsenter", f"--net={status.netns_path}"] if status is not None else []


@contextmanager
def serving(
    status: SandboxStatus | None, name: str, port: int, kind: str = "TCP", address: str = ""
) -> Iterator[None]:
    """A server that says its name and who calls."""
    words = [sys.executable, "-c", SERVER, kind, address, str(port), name]
    with subprocess.Popen([*inside(status), *words], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
        server.kill()


def call(address: str, port: int, kind: str = "TCP", of: SandboxStatus | None = None) -> str:
    """What a call is answered, or how it fails."""
    words = [sys.executable, "-c", CALL, kind, address, str(port)]
    return subprocess.check_output([*inside(of), *words], text=True).strip()


def shell(script: str) -> str:
    return subprocess.check_output(["sh", "-ec", script], text=True)


@pytest.fixture
async def lan(machine: Offload, real: NamespaceSandbox) -> SandboxStatus:
    """Two addresses of the machine on a link; who is at the other end of it."""
    outside = await real.create(a_spec(9))
    await machine(
        shell,
        f"ip link add lan type veth peer name far netns {outside.netns_path};"
        f"ip addr add {NODE}/24 dev lan; ip addr add {OTHER}/24 dev lan; ip link set lan up;"
        f"nsenter --net={outside.netns_path} sh -c 'ip addr add {OUTSIDE}/24 dev far;"
        "ip link set far up'",
    )
    return outside


async def test_a_port_of_the_machine_leads_to_the_pod(
    machine: Offload, real: NamespaceSandbox, lan: SandboxStatus
) -> None:
    ports = [HostPort(80, "TCP", 8080), HostPort(53, "UDP", 5353)]
    status = await real.create(a_spec(2, host_ports=ports))
    neighbour = await real.create(a_spec(3))

    def calls() -> None:
        with serving(status, "web", 8080), serving(status, "dns", 5353, "UDP"):
            # Who calls from outside or from another pod is seen; who must be hidden is the node.
            assert call(NODE, 80, of=lan) == f"web to {OUTSIDE}"
            assert call(OTHER, 53, "UDP", of=lan) == f"dns to {OUTSIDE}"
            assert call(NODE, 80, of=neighbour) == "web to 10.42.7.3"
            assert call(NODE, 80).startswith("web to ")
            assert call("127.0.0.1", 80).startswith("web to ")
            assert call("127.0.0.1", 53, "UDP").startswith("dns to ")
            assert call(NODE, 80, of=status).startswith("web to "), "itself"
            assert call(NODE, 53) == "ConnectionRefusedError", "another protocol"
            assert call(NODE, 8080) == "ConnectionRefusedError"

    await machine(calls)
    await real.remove(status.pod_uid)
    assert await machine(call, NODE, 80) == "ConnectionRefusedError"


async def test_each_address_of_the_machine_can_have_a_pod_of_its_own(
    machine: Offload, real: NamespaceSandbox, lan: SandboxStatus
) -> None:
    def taking(number: int, address: str, protocol: str = "TCP") -> object:
        port = HostPort(80, protocol, 8080, address)
        return a_spec(number, host_ports=[port])

    one = await real.create(taking(2, NODE))  # type: ignore[arg-type]
    two = await real.create(taking(3, "127.0.0.1"))  # type: ignore[arg-type]
    three = await real.create(taking(4, NODE, "UDP"))  # type: ignore[arg-type]

    def calls() -> None:
        with (
            serving(one, "one", 8080),
            serving(two, "two", 8080),
            serving(three, "three", 8080, "UDP"),
        ):
            assert call(NODE, 80, of=lan).startswith("one ")
            assert call("127.0.0.1", 80).startswith("two ")
            assert call(NODE, 80, "UDP", of=lan).startswith("three ")
            assert call(OTHER, 80, of=lan) == "ConnectionRefusedError"

    await machine(calls)
    for address in (NODE, ""):
        with pytest.raises(SandboxFailed, match="host port 80/TCP is taken by pod default/web-"):
            await real.create(taking(5, address))  # type: ignore[arg-type]
    assert [status.pod_name for status in await real.list()] == ["web-2", "web-3", "web-4", "web-9"]
    await real.remove(one.pod_uid)
    await real.create(taking(5, NODE))  # type: ignore[arg-type]


async def test_no_pod_reaches_what_listens_on_the_loopback_of_the_machine(
    machine: Offload, real: NamespaceSandbox
) -> None:
    """A link over which loopback addresses are routed would let it (CVE-2020-8558)."""
    status = await real.create(a_spec(2, host_ports=[HostPort(80, "TCP", 8080)]))
    by_way_of_the_machine = (
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via 169.254.1.1 dev eth0;"
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet"
    )

    def calls() -> None:
        with serving(None, "secret", 7000, address="127.0.0.1"):
            assert call("127.0.0.1", 7000) == "secret to 127.0.0.1"
            shell(" ".join([*inside(status), "sh", "-ec", f"'{by_way_of_the_machine}'"]))
            assert call("127.0.0.1", 7000, of=status) == "TimeoutError"
            shell("nft flush chain ip wherry-hostports guard")
            assert call("127.0.0.1", 7000, of=status) == "secret to 10.42.7.2", "it would"

    await machine(calls)


async def test_the_rules_are_restored_also_by_another_kubelet(
    machine: Offload, real: NamespaceSandbox, tmp_path: Path
) -> None:
    status = await real.create(a_spec(2, host_ports=[HostPort(80, "TCP", 8080)]))
    table = await machine(shell, "nft list table ip wherry-hostports")
    assert f"{status.address} . 8080" in table
    await machine(shell, "nft delete table ip wherry-hostports")
    await machine(real.repair)
    assert await machine(shell, "nft list table ip wherry-hostports") == table
    later = NamespaceSandbox(tmp_path / "sandboxes", machine)
    with pytest.raises(SandboxFailed, match="taken"):
        await later.create(a_spec(3, host_ports=[HostPort(80, "TCP", 1, "10.0.0.1")]))
    await machine(later.repair)
    assert await machine(shell, "nft list table ip wherry-hostports") == table
    await later.remove(status.pod_uid)
    assert status.address not in await machine(shell, "nft list table ip wherry-hostports")
