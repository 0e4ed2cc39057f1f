"""Each thing that is in the way is one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.preflight import rules
from common.preflight.facts import Facts, Process, Role, Server
from common.runtime.interfaces import Interface

NOW = datetime(2027, 3, 4, tzinfo=UTC)
FINE = Facts(now=NOW, routed_address="10.0.0.1", podman="4.3.1")
URL = "https://10.0.0.1:6443"
LAN, OTHER = Interface("eth0", "10.0.0.1"), Interface("eth1", "10.1.0.1")


def said(role: Role, **facts: Any) -> list[str]:
    """The lines about a machine that is fine but for these facts."""
    return [str(finding) for finding in rules.check(role, replace(FINE, **facts))]


@pytest.mark.parametrize("role", ["master", "node"])
def test_nothing_is_said_of_a_machine_that_is_fine(role: Role) -> None:
    assert said(role) == []


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"is_root": False}, "root is needed: sudo"),
        ({"has_systemd": False}, "systemd does not run this machine: deploy/local needs none"),
        (
            {"now": datetime(1970, 1, 1, tzinfo=UTC)},
            "the clock says 1970-01-01, which is past: timedatectl set-ntp true",
        ),
        (
            {"free_bytes": {"/var/lib": 5 << 20}},
            "/var/lib has 5 MiB left, and 1024 are needed: make room",
        ),
    ],
)
@pytest.mark.parametrize("role", ["master", "node"])
def test_what_every_machine_needs(role: Role, facts: dict[str, Any], line: str) -> None:
    assert said(role, **facts) == [line]


ETCD = Process(pid=7, name="etcd", unit="etcd.service")


def test_a_port_that_is_taken_is_told_with_its_holder() -> None:
    listeners = {2379: ETCD, 6443: Process(pid=8, name="k3s-server"), 22: ETCD}
    assert said("master", listeners=listeners) == [
        "port 6443 is taken by k3s-server (process 8): kill 8, "
        "or set secure-port in /etc/wherry/config.yaml",
        "port 2379 is taken by etcd (etcd.service): systemctl disable --now etcd.service, "
        "or set etcd-client-port in /etc/wherry/config.yaml",
    ]
    assert said("node", listeners=listeners) == []


def test_other_ports_may_be_set_and_our_own_master_is_not_in_the_way() -> None:
    settings = {"etcd-client-port": "12379"}
    assert said("master", listeners={2379: ETCD}, settings=settings) == []
    assert said("master", listeners={12379: ETCD}, settings=settings)
    ours = Process(pid=9, name="etcd", unit="wherry-master.service")
    assert said("master", listeners=dict.fromkeys(rules.PORTS.values(), ours)) == []


def test_an_etcd_that_is_not_ours_may_have_its_ports_and_must_be_named_rightly() -> None:
    settings = {"etcd-endpoints": "https://10.0.0.1:2379"}
    holders = {2379: ETCD, 2380: ETCD, 6443: ETCD}
    found = said("master", settings=settings, listeners=holders, etcd=("etcd-key: /k: no",))
    assert [line.partition(" is taken")[0] for line in found] == ["port 6443", "etcd-key: /k: no"]


def test_the_address_of_a_master_must_be_plain() -> None:
    assert said("master", routed_address="", interfaces=(LAN,)) == []
    (several,) = said("master", routed_address="", interfaces=(LAN, OTHER))
    assert several.endswith(
        "set advertise-address in /etc/wherry/config.yaml to one of "
        "10.0.0.1 (eth0), 10.1.0.1 (eth1)"
    )
    engine = Interface("podman0", "10.88.0.1")
    (none,) = said("master", routed_address="", interfaces=(Interface("lo", "127.0.0.1"), engine))
    assert none.startswith("this machine has no address")
    settings = {"advertise-address": "10.1.0.1"}
    assert said("master", routed_address="", interfaces=(LAN, OTHER), settings=settings) == []
    assert said("node", routed_address="", interfaces=(LAN, OTHER)) == []


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (
            {"agents": (Process(pid=5, name="kubelet", unit="kubelet.service"),)},
            "kubelet (kubelet.service) runs pods on this machine already: "
            "systemctl disable --now kubelet.service",
        ),
        (
            {"controllers": frozenset({"cpu"})},
            "cgroups lack memory, pids: start the kernel with cgroup_enable=memory, or, in a "
            "container, have its cgroup delegated",
        ),
        (
            {"trials": {"veth links": "Operation not supported"}},
            "the kernel has no veth links (Operation not supported): load its module, or take "
            "another kernel",
        ),
        ({"podman": "3.0.1"}, "Podman 3.0.1 is too old: 4.3 or later, as Debian 12 has it"),
        (
            {"hostname": "my_machine"},
            "'my_machine' cannot be the name of a Node: hostnamectl set-hostname NAME",
        ),
        (
            {"hostname": "localhost"},
            "'localhost' cannot be the name of a Node: hostnamectl set-hostname NAME",
        ),
        ({"machine_id": ""}, "/etc/machine-id holds no id: systemd-machine-id-setup"),
        (
            {"server": Server(url=URL, problem="connection refused")},
            f"{URL} does not answer (connection refused): is the master up, and do firewalls in "
            "between let 6443 and 6444 pass?",
        ),
        (
            {"server": Server(url=URL, clock=NOW + timedelta(seconds=400))},
            "this clock is 400 s behind the master's, and certificates need the same time: "
            "timedatectl set-ntp true",
        ),
    ],
)
def test_what_a_node_needs(facts: dict[str, Any], line: str) -> None:
    assert said("node", **facts) == [line]
    assert said("master", **facts) == []


def test_what_is_good_enough_for_a_node() -> None:
    server = Server(url=URL, clock=NOW - timedelta(seconds=59))
    settings = {"node-name": "fine"}
    for version in ("4.3.0", "5.4.2", "10.0"):
        assert said("node", podman=version, server=server, settings=settings, hostname="a_b") == []
    assert said("node", podman="") == [], "a package that is missing comes with the install"


def test_a_firewall_is_a_warning_since_it_may_let_all_pass() -> None:
    assert said("master", firewalls=("ufw",)) == [
        "warning: ufw is active and may refuse nodes and clients: ufw allow 6443:6445/tcp"
    ]
    (line,) = said("node", firewalls=("firewalld",))
    assert line.startswith("warning: firewalld is active and may refuse pods: firewall-cmd ")
    assert not any(f.is_grave for f in rules.check("node", replace(FINE, firewalls=("x",))))


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        (URL, True),
        ("https://master.lan:6443", True),
        ("http://10.0.0.1:6443", False),
        ("10.0.0.1:6443", False),
        ("https://10.0.0.1", False),
        ("https://a:1\nb: c", False),
    ],
)
def test_the_address_of_a_master_is_written_into_files(url: str, is_one: bool) -> None:
    assert (rules.server_problem(url) == "") == is_one


def test_missing_packages_are_one_line() -> None:
    assert rules.missing(FINE) == []
    (finding,) = rules.missing(replace(FINE, missing=("podman", "nftables")))
    assert finding.text == "packages are missing: apt-get install podman nftables"
