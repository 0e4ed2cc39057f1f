"""What is read of a machine's own tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.preflight import firewall, probe, sockets
from common.preflight.facts import Process
from common.runtime import interfaces
from common.runtime.clock import SystemClock
from common.runtime.interfaces import Interface

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41 1 0 1
   1: 00000000:192B 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 42 1 0 1
"""


def process(proc: Path, pid: int, name: str, cgroup: str, socket: str = "") -> None:
    """A process of a /proc of the test's own."""
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{name}\n")
    (proc / str(pid) / "cgroup").write_text(cgroup)
    (proc / str(pid) / "fd" / "0").symlink_to("/dev/null")
    if socket:
        (proc / str(pid) / "fd" / "1").symlink_to(f"socket:[{socket}]")


def test_a_port_is_told_with_process_and_unit(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    process(tmp_path, 5, "sh", "0::/user.slice/session-1.scope\n")
    process(tmp_path, 6, "etcd", "0::/system.slice/etcd.service\n", socket="41")
    process(tmp_path, 7, "other", "0::/\n", socket="42")
    found = sockets.processes(tmp_path)
    assert sockets.listeners(found, tmp_path) == {
        2379: Process(pid=6, name="etcd", unit="etcd.service")
    }
    (tmp_path / "6" / "fd" / "1").unlink()
    assert (
        sockets.listeners(found, tmp_path)[2379].name == "a process that cannot be seen from here"
    )


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/wherry-master.service\n", "wherry-master.service"),
        ("4:pids:/system.slice/a.service/child\n0::/\n", "a.service"),
        ("1:name=systemd:/machine.slice/libpod-1.scope\n", ""),
    ],
)
def test_the_unit_of_a_process(cgroups: str, unit: str) -> None:
    assert sockets.unit_of(cgroups) == unit


def chain(hook: str, policy: str = "accept", table: str = "filter") -> dict[str, Any]:
    """A base chain, named as its hook."""
    place = {"family": "inet", "table": table, "name": hook}
    return {"chain": {**place, "type": "filter", "hook": hook, "prio": 0, "policy": policy}}


def rule(hook: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    """A rule of that chain."""
    place = {"family": "inet", "table": "filter", "chain": hook}
    return {"rule": {**place, "expr": list(expressions)}}


MATCH = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth9"}}


@pytest.mark.parametrize(
    ("entries", "refusing"),
    [
        ([], 0),
        ([chain("input"), rule("input", MATCH, {"drop": None})], 0),
        ([chain("input", "drop")], 1),
        ([chain("output", "drop")], 0),
        ([chain("forward", "drop", "wherry-network")], 0),
        ([chain("forward"), rule("forward", {"counter": {}}, {"reject": {"type": "icmpx"}})], 1),
        ([chain("forward"), rule("forward", {"counter": {}})], 0),
    ],
)
def test_chains_that_refuse_what_nothing_allows(
    entries: list[dict[str, Any]], refusing: int
) -> None:
    ruleset = json.dumps({"nftables": [{"metainfo": {"version": "1"}}, *entries]})
    assert len(firewall.refusing(ruleset)) == refusing


def test_a_chain_is_named_as_nft_names_it() -> None:
    (name,) = firewall.refusing(json.dumps({"nftables": [chain("input", "drop")]}))
    assert name == "nftables' chain input of table inet filter"


def test_settings_are_read_without_a_library(tmp_path: Path) -> None:
    """Plain lines, and lists; what is deeper is none that the rules ask for."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "# a comment\nadvertise-address: '10.0.0.1'  # mine\ntls-san:\n- a\n  - \"b\"  # two\n"
        "x: {y: 1}\nempty:\netcd-endpoints: [https://a:1, 'https://b:2']\n"
    )
    (tmp_path / "config.yaml.d").mkdir()
    (tmp_path / "config.yaml.d" / "1.yaml").write_text("secure-port: 7443\n")
    assert probe._settings(file) == {
        "advertise-address": "10.0.0.1",
        "tls-san": "a,b",
        "etcd-endpoints": "https://a:1,https://b:2",
        "secure-port": "7443",
    }
    assert probe._settings(tmp_path / "none.yaml") == {}


def test_what_is_said_of_an_etcd_of_ones_own(tmp_path: Path) -> None:
    """What is given stands above the file; no package and no port of an own one is asked for."""
    given = {"etcd-endpoints": "https://10.0.0.1:2379,nonsense", "etcd-cacert": f"{tmp_path}/ca"}
    facts = probe.facts("master", "", SystemClock(), given)
    assert "etcd-server" not in facts.missing
    assert facts.etcd == (
        "'nonsense' is not an endpoint of etcd such as https://10.0.0.1:2379",
        "etcd-endpoints must be https:// all of them, or http:// all of them",
        f"etcd-cacert: {tmp_path}/ca: no such file or directory",
    )
    assert probe.facts("master", "", SystemClock()).etcd == ()


def test_a_date_of_http() -> None:
    assert probe._date("Thu, 04 Mar 2027 00:00:00 GMT") == datetime(2027, 3, 4, tzinfo=UTC)
    assert probe._date("") is None


def test_any_machine_can_be_asked() -> None:
    """Also one without root, Podman or nftables."""
    facts = probe.facts("node", "", SystemClock())
    assert facts.hostname
    assert facts.server is None
    assert Interface("lo", "127.0.0.1") in facts.interfaces


def test_a_master_that_does_not_answer_is_told_so() -> None:
    server = probe._server("https://127.0.0.1:1")
    assert server.problem.lower() == "connection refused"


def test_addresses_that_others_may_reach() -> None:
    found = [
        Interface("lo", "127.0.0.1"),
        Interface("eth0", "169.254.7.7"),
        Interface("docker0", "172.17.0.1"),
        Interface("eth0", "10.0.0.1"),
    ]
    assert interfaces.reachable(found) == [Interface("eth0", "10.0.0.1")]
