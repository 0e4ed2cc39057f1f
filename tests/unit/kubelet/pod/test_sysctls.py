"""Sysctls: which a node sets for a pod, and which it refuses."""

from __future__ import annotations

import pytest

from common.api.types.core_v1 import Pod
from node.kubelet.spec import sysctls
from tests.fakes.pods import pod

SAFE = "kernel.shm_rmid_forced"


def asking(*names: str, **spec: object) -> Pod:
    """A pod that sets these, each to 1."""
    wanted = [{"name": name, "value": "1"} for name in names]
    return pod(securityContext={"sysctls": wanted}, **spec)


@pytest.mark.parametrize(
    ("names", "unsafe", "refused"),
    [
        ((), (), ""),
        ((SAFE, "net.ipv4.tcp_syncookies"), (), ""),
        (("net/ipv4/tcp_syncookies",), (), ""),
        (("kernel.msgmax",), (), '"kernel.msgmax" not allowlisted'),
        ((SAFE, "kernel.msgmax"), (), '"kernel.msgmax" not allowlisted'),
        (("kernel.msgmax",), ("kernel.msg*",), ""),
        (("net.core.somaxconn",), ("net.core.somaxconn",), ""),
        (("net.core.somaxconn2",), ("net.core.somaxconn",), '"net.core.somaxconn2" not'),
        (("net/ipv4/conf/eth0.7/rp_filter",), ("net.*",), ""),
        (("vm.swappiness",), ("vm.*", "*"), '"vm.swappiness" not allowlisted'),
        (("net.ipv4/../../vm/swappiness",), ("net.*",), "not allowlisted"),
    ],
)
def test_what_a_node_takes(names: tuple[str, ...], unsafe: tuple[str, ...], refused: str) -> None:
    found = sysctls.refusal(asking(*names), unsafe)
    assert refused in found
    assert bool(found) == bool(refused)


@pytest.mark.parametrize(
    ("name", "spec", "refused"),
    [
        (SAFE, {"hostIPC": True}, f'forbidden sysctl: "{SAFE}" not allowed with host IPC enabled'),
        (SAFE, {"hostNetwork": True}, ""),
        ("net.ipv4.tcp_rmem", {"hostIPC": True}, ""),
        (
            "net.ipv4.tcp_rmem",
            {"hostNetwork": True},
            'forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host Net enabled',
        ),
    ],
)
def test_the_machines_own_are_never_set(name: str, spec: dict[str, object], refused: str) -> None:
    assert sysctls.refusal(asking(name, **spec), ()) == refused


def test_they_are_set_by_path() -> None:
    made = asking(SAFE, "net/ipv4/conf/eth0.7/rp_filter", "net.ipv4.tcp_rmem")
    assert sysctls.settings(made) == {
        "kernel/shm_rmid_forced": "1",
        "net/ipv4/conf/eth0.7/rp_filter": "1",
        "net/ipv4/tcp_rmem": "1",
    }
    assert sysctls.settings(pod()) == {}


@pytest.mark.parametrize("pattern", ["kernel.msg*", "net.*", "fs.mqueue.*", "net.core.somaxconn"])
def test_what_an_operator_may_allow(pattern: str) -> None:
    assert sysctls.pattern_problem(pattern) == ""


@pytest.mark.parametrize("pattern", ["", "*", "vm.*", "kernel.*", "net.*.x", "net ipv4", "a;b"])
def test_what_no_operator_may_allow(pattern: str) -> None:
    assert sysctls.pattern_problem(pattern).startswith(f"{pattern!r}: not")
