"""CPU time and memory of other processes, from /proc; a master for a benchmark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers.master import RunningMaster


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def running_master(settings: str = "") -> Iterator[RunningMaster]:
    """A master of its own with its etcd and a configuration file, ended with the block."""
    with TemporaryDirectory() as directory:
        master = RunningMaster(Path(directory))
        if settings:
            master.settings = Path(directory) / "config.yaml"
            master.settings.write_text(settings)
        try:
            master.start()
            yield master
        finally:
            master.stop()


def pid_of(master: RunningMaster) -> int:
    """The master's own process, without its etcd."""
    assert master.process is not None
    return master.process.pid
