"""Sysctls of pods: which are set, and which a node refuses. Pure.

Source: https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from common.api.types.core_v1 import Pod

FORBIDDEN = "SysctlForbidden"
SAFE = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
)
"""These concern nobody but the pod."""
_IPC = (
    "kernel.msg",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
)
_SWAPPED = str.maketrans("./", "/.")
_NAME = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")


def refusal(pod: Pod, unsafe: Sequence[str]) -> str:
    """Why this node does not run a pod; `unsafe`: what it allows beside the safe ones, as names
    or as prefixes that end in *."""
    for name in _by_name(pod):
        kind = _namespace(name)
        if not kind or not any(_matches(pattern, name) for pattern in (*SAFE, *unsafe)):
            return f'forbidden sysctl: "{name}" not allowlisted'
        if (kind == "Net" and pod.spec.hostNetwork) or (kind == "IPC" and pod.spec.hostIPC):
            return f'forbidden sysctl: "{name}" not allowed with host {kind} enabled'
    return ""


def pattern_problem(pattern: str) -> str:
    """What is wrong with a name, or a prefix with *, that an operator wants to allow."""
    name = pattern.removesuffix("*").removesuffix(".")
    if not _NAME.fullmatch(name):
        return f"{pattern!r}: not the name of a sysctl"
    if not _namespace(name) and name not in ("net", "fs.mqueue"):
        return f"{pattern!r}: not a sysctl that each pod has of its own"
    return ""


def settings(pod: Pod) -> dict[str, str]:
    """What is set for a pod: values by path below /proc/sys."""
    return {name.translate(_SWAPPED): value for name, value in _by_name(pod).items()}


def _by_name(pod: Pod) -> dict[str, str]:
    """By names with dots; where a name's first separator is a slash, a dot in it is none."""
    context = pod.spec.securityContext
    values = {}
    for sysctl in context.sysctls if context is not None else ():
        first = next((letter for letter in sysctl.name if letter in "./"), ".")
        values[sysctl.name if first == "." else sysctl.name.translate(_SWAPPED)] = sysctl.value
    return values


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _namespace(name: str) -> Literal["IPC", "Net", ""]:
    """The namespace that a sysctl is of; empty for one that is the whole machine's."""
    if not _NAME.fullmatch(name):
        return ""
    if name.startswith("net."):
        return "Net"
    return "IPC" if name in _IPC or name.startswith("fs.mqueue.") else ""
