"""What is asked of a machine: plain values, so that a test can make any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from common.runtime.interfaces import Interface

Role = Literal["master", "node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process, with the systemd unit that it belongs to ('' for none)."""

    pid: int
    name: str
    unit: str = ""

    def __str__(self) -> str:
        """How a person is told of it."""
        return f"{self.name} ({self.unit or f'process {self.pid}'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the master that a node is to join has answered."""

    url: str
    problem: str = ""
    """Why there was no answer; '' when there was one."""
    clock: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is true of a machine. The defaults are those of one that has nothing in the way."""

    is_root: bool = True
    has_systemd: bool = True
    now: datetime
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the master's or the kubelet's configuration file says, by key."""
    missing: tuple[str, ...] = ()
    """Distribution packages that are needed and not there."""
    listeners: Mapping[int, Process] = field(default_factory=dict)
    """Who listens on which TCP port."""
    agents: tuple[Process, ...] = ()
    """Kubelets of others."""
    routed_address: str = ""
    interfaces: tuple[Interface, ...] = ()
    hostname: str = "machine"
    machine_id: str = "0123456789abcdef0123456789abcdef"
    controllers: frozenset[str] = frozenset({"cpu", "memory", "pids"})
    """The cgroup controllers that this machine has, and may use."""
    trials: Mapping[str, str] = field(default_factory=dict)
    """What was tried of the kernel and failed, and what it said."""
    podman: str = ""
    """Podman's version; '' when there is none."""
    firewalls: tuple[str, ...] = ()
    """Active ones, by name; or chains of nftables that refuse what nothing allows."""
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of the file systems that hold these directories."""
    server: Server | None = None
    etcd: tuple[str, ...] = ()
    """What is wrong with what is said of an etcd that is not the master's own."""
