"""Termination messages: a small file that a container may write, or the end of its log.

The container owns the file's content: it is opened without following links, must be a regular
file, and at most 4 KiB of it are read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from common.api import times
from node.runtime.base import ContainerStatus

MESSAGE_MAX_BYTES = 4096
LOG_MAX_BYTES = 2048
LOG_MAX_LINES = 80


def path(root: Path, pod_uid: str, container: str, attempt: int) -> Path:
    """Where the message of one attempt is on this machine."""
    return root / pod_uid / "containers" / container / f"{attempt}.termination"


def read(file: Path) -> str:
    """The message; empty when there is none or the file is not what it should be."""
    return _read_regular(file, MESSAGE_MAX_BYTES, from_end=False)


def log_tail(file: Path) -> str:
    """The last lines of a log, as a message."""
    text = _read_regular(file, LOG_MAX_BYTES * 2, from_end=True)
    lines = [line.split(" ", 3)[-1] for line in text.splitlines()[-LOG_MAX_LINES:]]
    return "\n".join(lines)[-LOG_MAX_BYTES:]


def _read_regular(file: Path, limit_bytes: int, *, from_end: bool) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return ""
        offset = max(0, found.st_size - limit_bytes) if from_end else 0
        return os.pread(descriptor, limit_bytes, offset).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def run_seconds(status: ContainerStatus) -> float:
    """How long an attempt has run."""
    if not status.started_at or not status.finished_at:
        return 0.0
    start, end = times.parse(status.started_at), times.parse(status.finished_at)
    return (end - start).total_seconds()
