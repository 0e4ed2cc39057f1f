"""What the kernel holds a container to, and what memory it uses: the files of its cgroup.

Podman does not tell: its inspection repeats what a container was made with. Version 1, hybrid and
2 alike. Blocking: use an Offload.
"""

from __future__ import annotations

from pathlib import Path

from node.runtime.base import PERIOD_US, Limits

ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 62
"""Version 1 has no word for no limit: it says the largest number of whole pages."""


def limits(cgroup_path: str, root: Path = ROOT) -> Limits | None:
    """The limits of a cgroup; None when it is gone, or has no such files."""
    path = cgroup_path.lstrip("/")
    try:
        return _of_v2(root / path) if _is_v2(root) else _of_v1(root, path)
    except (OSError, ValueError):
        return None


def memory_bytes(cgroup_path: str, root: Path = ROOT) -> int:
    """The memory that a cgroup uses, with the pages of files; 0 when that is not known."""
    path = cgroup_path.lstrip("/")
    file = root / path / "memory.current"
    if not _is_v2(root):
        file = root / "memory" / path / "memory.usage_in_bytes"
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _is_v2(root: Path) -> bool:
    return (root / "cgroup.controllers").exists()


def _of_v1(root: Path, path: str) -> Limits:
    cpu, memory = root / "cpu" / path, root / "memory" / path
    quota = int((cpu / "cpu.cfs_quota_us").read_text())
    most = int((memory / "memory.limit_in_bytes").read_text())
    return Limits(
        memory_bytes=0 if most >= _UNLIMITED else most,
        cpu_shares=int((cpu / "cpu.shares").read_text()),
        cpu_quota_us=_of_period(quota, int((cpu / "cpu.cfs_period_us").read_text())),
    )


def _of_v2(directory: Path) -> Limits:
    quota, period = (directory / "cpu.max").read_text().split()
    most = (directory / "memory.max").read_text().strip()
    return Limits(
        memory_bytes=0 if most == "max" else int(most),
        cpu_weight=int((directory / "cpu.weight").read_text()),
        cpu_quota_us=0 if quota == "max" else _of_period(int(quota), int(period)),
    )


def _of_period(quota_us: int, period_us: int) -> int:
    return max(0, quota_us * PERIOD_US // period_us)
