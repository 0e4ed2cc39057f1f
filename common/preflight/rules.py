"""What is in the way of a master or a node, one line each: what is wrong, and what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from common.api import names
from common.preflight.facts import Facts, Process, Role, Server
from common.runtime.interfaces import reachable

PORTS = {
    "secure-port": 6443,
    "node-port": 6444,
    "script-port": 6445,
    "etcd-client-port": 2379,
    "etcd-peer-port": 2380,
}
"""The master's, by the setting that names another."""
OF_OWN_ETCD = ("etcd-client-port", "etcd-peer-port")
CONFIG = {"master": "/etc/wherry/config.yaml", "node": "/etc/wherry/kubelet.yaml"}
CONTROLLERS = ("cpu", "memory", "pids")
PODMAN_LEAST = (4, 3)
MIB = 1 << 20
FREE_LEAST_BYTES = {"/opt": 400 * MIB, "/var/lib": 1024 * MIB}
CLOCK_LEAST = datetime(2026, 1, 1, tzinfo=UTC)
"""Nobody runs this release before: a machine whose clock says so has lost the time."""
SKEW_MAX = timedelta(seconds=60)
PODS = "10.42.0.0/16"


class Finding(NamedTuple):
    """One line for a person."""

    text: str
    is_grave: bool = True
    """Whether nothing can be installed before it is mended."""

    def __str__(self) -> str:
        """The line."""
        return self.text if self.is_grave else f"warning: {self.text}"


def server_problem(url: str) -> str:
    """What is wrong with the address of a master; '' when nothing is."""
    if re.fullmatch(r"https://[A-Za-z0-9.-]+:[0-9]{1,5}", url):
        return ""
    return f"{url!r} is not a URL such as https://MASTER:6443"


def check(role: Role, facts: Facts) -> list[Finding]:
    """All that is in the way; missing packages, which an install brings, are not among it."""
    if not facts.is_root:
        return [Finding("root is needed: sudo")]
    own = _master(facts) if role == "master" else _node(facts)
    return [*_machine(facts), *own, *_firewalls(role, facts)]


def missing(facts: Facts) -> list[Finding]:
    """The packages that are needed and not there."""
    if not facts.missing:
        return []
    listed = " ".join(facts.missing)
    return [Finding(f"packages are missing: apt-get install {listed}")]


def _machine(facts: Facts) -> Iterator[Finding]:
    """What both need."""
    if not facts.has_systemd:
        yield Finding("systemd does not run this machine: deploy/local needs none")
    if facts.now < CLOCK_LEAST:
        yield Finding(
            f"the clock says {facts.now:%Y-%m-%d}, which is past: timedatectl set-ntp true"
        )
    for place, least in FREE_LEAST_BYTES.items():
        free = facts.free_bytes.get(place, least)
        if free < least:
            yield Finding(
                f"{place} has {free // MIB} MiB left, and {least // MIB} are needed: make room"
            )


def _master(facts: Facts) -> Iterator[Finding]:
    for setting, default in PORTS.items():
        if setting in OF_OWN_ETCD and facts.settings.get("etcd-endpoints"):
            continue
        port = _port(facts, setting, default)
        holder = facts.listeners.get(port)
        if holder is not None and holder.unit != "wherry-master.service":
            yield Finding(
                f"port {port} is taken by {holder}: {_stop(holder)}, "
                f"or set {setting} in {CONFIG['master']}"
            )
    yield from map(Finding, facts.etcd)
    yield from _address(facts)


def _port(facts: Facts, setting: str, default: int) -> int:
    said = facts.settings.get(setting, "")
    return int(said) if said.isdigit() else default


def _stop(process: Process) -> str:
    if process.unit:
        return f"systemctl disable --now {process.unit}"
    return f"kill {process.pid}"


def _address(facts: Facts) -> Iterator[Finding]:
    """Where the master is to be reached must be plain: no default route is fine."""
    if facts.settings.get("advertise-address") or facts.routed_address:
        return
    choices = reachable(facts.interfaces)
    if not choices:
        yield Finding(
            "this machine has no address that others could reach: ip address add ADDRESS dev LINK"
        )
    elif len(choices) > 1:
        named = ", ".join(f"{each.address} ({each.name})" for each in choices)
        yield Finding(
            f"there are several addresses and no default route: set advertise-address in "
            f"{CONFIG['master']} to one of {named}"
        )


def _node(facts: Facts) -> Iterator[Finding]:
    for agent in facts.agents:
        yield Finding(f"{agent} runs pods on this machine already: {_stop(agent)}")
    yield from _identity(facts)
    lacking = [each for each in CONTROLLERS if each not in facts.controllers]
    if lacking:
        yield Finding(
            f"cgroups lack {', '.join(lacking)}: start the kernel with cgroup_enable=memory, or, "
            "in a container, have its cgroup delegated"
        )
    for what, said in facts.trials.items():
        yield Finding(f"the kernel has no {what} ({said}): load its module, or take another kernel")
    if facts.podman and _version(facts.podman) < PODMAN_LEAST:
        least = ".".join(map(str, PODMAN_LEAST))
        yield Finding(f"Podman {facts.podman} is too old: {least} or later, as Debian 12 has it")
    if facts.server is not None:
        yield from _server(facts.server, facts.now)


def _identity(facts: Facts) -> Iterator[Finding]:
    name = facts.settings.get("node-name") or facts.hostname.lower()
    if name == "localhost" or names.dns_subdomain(name):
        yield Finding(
            f"{facts.hostname!r} cannot be the name of a Node: hostnamectl set-hostname NAME"
        )
    if not re.fullmatch(r"[0-9a-f]{32}", facts.machine_id):
        yield Finding("/etc/machine-id holds no id: systemd-machine-id-setup")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _server(server: Server, now: datetime) -> Iterator[Finding]:
    if server.problem:
        yield Finding(
            f"{server.url} does not answer ({server.problem}): is the master up, and do firewalls "
            "in between let 6443 and 6444 pass?"
        )
    elif server.clock is not None and abs(now - server.clock) > SKEW_MAX:
        off = (now - server.clock).total_seconds()
        yield Finding(
            f"this clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the master's, "
            "and certificates need the same time: timedatectl set-ntp true"
        )


def _firewalls(role: Role, facts: Facts) -> Iterator[Finding]:
    """A firewall may let everything pass that is needed: only who made its rules knows."""
    for name in facts.firewalls:
        if role == "master":
            cure = {
                "firewalld": "firewall-cmd --permanent --add-port=6443-6445/tcp && "
                "firewall-cmd --reload",
                "ufw": "ufw allow 6443:6445/tcp",
            }.get(name, "have it accept tcp dport 6443-6445")
        else:
            cure = {
                "firewalld": f"firewall-cmd --permanent --zone=trusted --add-source={PODS} && "
                "firewall-cmd --reload",
                "ufw": f"ufw route allow from {PODS} && ufw route allow to {PODS}",
            }.get(name, f"have it accept what comes from {PODS} and what goes there")
        what = "nodes and clients" if role == "master" else "pods"
        yield Finding(f"{name} is active and may refuse {what}: {cure}", is_grave=False)
