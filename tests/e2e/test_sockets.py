"""What listens on machines: row G22, read from /proc/net of each machine's network."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import Cluster, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
STATES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""What `st` says of sockets that others can reach: TCP that listens, UDP that is bound."""
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def listeners(cluster: Cluster, machine: str) -> set[tuple[str, int]]:
    """(loopback or any, port) of every socket of a machine that others can reach."""
    found = set()
    for table, state in STATES.items():
        for line in cluster.shell(machine, "cat", f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == state:
                address, _, port = fields[1].partition(":")
                found.add(("loopback" if address in LOOPBACK else "any", int(port, 16)))
    return found


def test_listeners(clean: Cluster) -> None:
    """The master has its three ports and etcd's two; a node has none, also while pods run."""
    clean.apply(pod("runs", ["sleep", "1000"]))
    until(lambda: "runs" in clean.kubectl("get", "pods", "--field-selector=status.phase=Running"))
    expected = {("any", 6443), ("any", 6444), ("any", 6445)}
    expected |= {("loopback", 2379), ("loopback", 2380)}
    assert listeners(clean, "master") == expected
    nodes = clean.kubectl("get", "nodes", "-o", "name").replace("node/", "").split()
    for node in nodes:
        assert listeners(clean, node) == set(), node
