"""What is found of a machine: files, units, and what of Wherry runs or is in the kernel."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from deploy.machine.ledger import TRACES, Before, Ledger
from deploy.machine.steps import Executor, mount_points
from deploy.machine.wanted import FOREIGN_UNITS, TOKEN_FILE, Wanted

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
RUN_DIRECTORY = "/run/wherry"
DATA = ("/var/lib/wherry/master", "/var/lib/wherry/node")
LOGS = "/var/log/pods"
TABLES = ("ip wherry-hostports", "ip wherry-network", "ip wherry-proxy")
ROUTES = "87"
"""The protocol number of the kubelet's routes."""
POD_LINK = re.compile(r"wh[0-9a-f]{12}")
LABEL = "io.wherry.pod.uid"
_LABELS = {
    LABEL: re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "io.wherry.container.name": re.compile(r"[a-z0-9.-]+"),
    "io.wherry.container.attempt": re.compile(r"[0-9]{1,9}"),
}


class UnitState(NamedTuple):
    """A unit, in systemd's own words."""

    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    status: str = ""
    exit_code: str = "0"
    has_job: bool = False
    """Whether it is about to start, stop or restart."""
    restarts: int = 0
    """How often systemd has started it again since somebody last did."""

    @property
    def is_there(self) -> bool:
        """Whether systemd knows it."""
        return self.load not in ("not-found", "")

    def __str__(self) -> str:
        """How the ledger keeps it."""
        return f"{self.active}/{self.enabled or 'absent'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What of the files, users and units that matter is there."""

    checksums: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    units: Mapping[str, UnitState] = field(default_factory=dict)

    def unit(self, name: str) -> UnitState:
        """The state of a unit."""
        return self.units.get(name, UnitState())


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What of a node's work is in the machine."""

    containers: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    ip_forward: str = ""
    processes: tuple[str, ...] = ()


def found(executor: Executor, ledger: Ledger, wanted: Wanted | None = None) -> Found:
    """What is there of all that the ledger lists and an install wants."""
    files = {*ledger.files, *((f.path for f in wanted.files) if wanted else ())}
    links = {*ledger.links, *(wanted.links if wanted else ())}
    others = (*(wanted.directories if wanted else ()), *ledger.directories, *TRACES, *DATA)
    paths = {*files, *links, *others, RUN_DIRECTORY, TOKEN_FILE}
    users = {*ledger.users, *(wanted.users if wanted else ())}
    names = {*ledger.units, *(wanted.units if wanted else ()), *FOREIGN_UNITS}
    return Found(
        checksums={p: s for p in files if (s := _checksum(executor.place(p)))},
        links={
            p: str(executor.place(p).readlink()) for p in links if executor.place(p).is_symlink()
        },
        paths=frozenset(p for p in paths if os.path.lexists(executor.place(p))),
        users=frozenset(user for user in users if _has_user(user)),
        units=unit_states(executor, sorted(names)),
    )


def contents(executor: Executor, wanted: Wanted) -> dict[str, str]:
    """What is in those of the wanted files that are there."""
    places = {f.path: executor.place(f.path) for f in wanted.files}
    return {
        p: place.read_text("utf-8", "replace") for p, place in places.items() if place.is_file()
    }


def before(executor: Executor, packages_missing: tuple[str, ...]) -> Before:
    """What the ledger keeps of a machine that nothing was installed on."""
    states = unit_states(executor, FOREIGN_UNITS)
    return Before(
        units={name: str(states.get(name, UnitState())) for name in FOREIGN_UNITS},
        ip_forward=_text(Path(FORWARDING)),
        paths=tuple(path for path in TRACES if executor.place(path).exists()),
        packages_missing=packages_missing,
    )


def leftovers(executor: Executor) -> Leftovers:
    """What runs, is mounted and is in the kernel of ours."""
    return Leftovers(
        containers=tuple(_containers(executor)),
        mounts=tuple(mount_points([RUN_DIRECTORY, *DATA])),
        links=tuple(e.name for e in Path("/sys/class/net").iterdir() if POD_LINK.fullmatch(e.name)),
        routes=tuple(_said(executor, "ip", "route", "show", "proto", ROUTES).splitlines()),
        tables=tuple(ours_of(_said(executor, "nft", "list", "tables"))),
        ip_forward=_text(Path(FORWARDING)),
        processes=tuple(_processes()),
    )


def unit_states(executor: Executor, names: Iterable[str]) -> dict[str, UnitState]:
    """The states of units by name."""
    properties = "Id,LoadState,ActiveState,UnitFileState,StatusText,ExecMainStatus,Job,NRestarts"
    asked = sorted(names)
    return parse_units(executor.run(["systemctl", "show", "--property", properties, *asked]))


def parse_units(shown: str) -> dict[str, UnitState]:
    """The units in what `systemctl show` prints: a block each."""
    units = {}
    for block in shown.strip().split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units[said.get("Id", "")] = UnitState(
            said.get("LoadState", ""),
            said.get("ActiveState", ""),
            said.get("UnitFileState", ""),
            said.get("StatusText", ""),
            said.get("ExecMainStatus", "0"),
            said.get("Job", "0") not in ("", "0"),
            int(said.get("NRestarts") or 0),
        )
    return units


def ours_of(tables: str) -> list[str]:
    """Our tables in what `nft list tables` prints."""
    listed = [line.removeprefix("table ") for line in tables.splitlines()]
    return [table for table in listed if table in TABLES]


def our_containers(listed: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of the containers that a kubelet of ours made, from what Podman lists.

    As the kubelet knows them: by their labels and the name that these tell. An image may have the
    labels, too.
    """
    return [str(each["Id"]) for each in listed if _is_ours(each)]


def _is_ours(container: Mapping[str, Any]) -> bool:
    labels = container.get("Labels") or {}
    if not all(form.fullmatch(labels.get(label, "")) for label, form in _LABELS.items()):
        return False
    name = "-".join(("wherry", *(labels[label] for label in _LABELS)))
    return bool((container.get("Names") or [""])[0] == name)


def _containers(executor: Executor) -> list[str]:
    command = ("podman", "ps", "--all", "--filter", f"label={LABEL}", "--format", "json")
    return our_containers(json.loads(_said(executor, *command) or "[]"))


def _said(executor: Executor, *command: str) -> str:
    """What a program prints; nothing where there is no such program, for then it made nothing."""
    return executor.run(command) if shutil.which(command[0]) else ""


def _processes() -> Iterable[str]:
    """The processes that run programs of ours, but this one."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            unit = (directory / "cgroup").read_text("utf-8", "replace")
            if re.search(r"/wherry-(master|kubelet|kube-proxy)\.service", unit):
                yield f"{directory.name} {(directory / 'comm').read_text('utf-8', 'replace')}"


def _checksum(place: Path) -> str:
    try:
        return hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError:
        return ""


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _text(place: Path) -> str:
    try:
        return place.read_text("ascii").strip()
    except OSError:
        return ""
