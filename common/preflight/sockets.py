"""Which process listens on which TCP port, from /proc."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from common.preflight.facts import Process

PROC = Path("/proc")
_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)", re.MULTILINE)


def processes(proc: Path = PROC) -> list[Process]:
    """Every process that has not ended meanwhile."""
    holding = []
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (directory / "comm").read_text("utf-8", "replace").strip()
            unit = unit_of((directory / "cgroup").read_text("utf-8", "replace"))
            holding.append(Process(pid=int(directory.name), name=name, unit=unit))
    return holding


def unit_of(cgroups: str) -> str:
    """The service that a process belongs to, from its /proc/PID/cgroup; '' for none."""
    match = _UNIT.search(cgroups)
    return match[1] if match else ""


def listeners(found: Iterable[Process], proc: Path = PROC) -> dict[int, Process]:
    """The process behind each port that somebody listens on, on whatever address."""
    ports: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            ports |= listening((proc / "net" / table).read_text("ascii"))
    holders = {}
    for process in found:
        with contextlib.suppress(OSError):
            for entry in (proc / str(process.pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if (match := _SOCKET.fullmatch(str(entry.readlink()))) and match[1] in ports:
                        holders[ports[match[1]]] = process
    unknown = Process(pid=0, name="a process that cannot be seen from here")
    return {port: holders.get(port, unknown) for port in ports.values()}


def listening(table: str) -> dict[str, int]:
    """Inode -> port of the sockets that listen, from /proc/net/tcp or tcp6."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {row[9]: int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == _LISTEN}
