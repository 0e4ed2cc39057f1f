"""What listens: row G22. The master and its etcd, and nothing else of theirs."""

from __future__ import annotations

import socket

import psutil
import pytest

from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]


def open_to_others(process: psutil.Process) -> set[tuple[str, int]]:
    """(address, port) of every TCP listener and of every UDP socket that anybody may write to."""
    return {
        # gRPC listens on IPv6 sockets for IPv4 addresses.
        (one.laddr.ip.removeprefix("::ffff:"), one.laddr.port)
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr)
    }


def test_listeners_of_the_master(master: RunningMaster) -> None:
    """6443, 6444 and 6445 for the master; two ports on loopback for etcd; no other process."""
    assert master.process is not None
    # Some calls first: nothing may begin to listen because of them.
    master.admin().json("GET", "/api/v1/pods")
    process = psutil.Process(master.process.pid)
    ports = (master.port, master.node_port, master.script_port)
    assert open_to_others(process) == {("127.0.0.1", port) for port in ports}
    children = process.children(recursive=True)
    assert [child.name() for child in children] == ["etcd"]
    loopback = {("127.0.0.1", port) for port in (master.etcd_port, master.peer_port)}
    assert open_to_others(children[0]) == loopback
