"""Termination messages: a small file that a container may write, or the end of its log.

The container owns the file's content: it is opened without following links, must be a regular
file, and at most 4 KiB of it are read.
"""

from __future__ import annotations

import os
from pathlib import Path

from node.files.regular import open_regular
from node.kubelet.streams import logs

MESSAGE_MAX_BYTES = 4096
LOG_MAX_BYTES = 2048
LOG_MAX_LINES = 80


def path(root: Path, pod_uid: str, container: str, attempt: int) -> Path:
    """Where the message of one attempt is on this machine."""
    return root / pod_uid / "containers" / container / f"{attempt}.termination"


def read(file: Path) -> str:
    """The message; empty when there is none or the file is not what it should be."""
    try:
        descriptor = open_regular(file)
    except OSError:
        return ""
    try:
        return os.pread(descriptor, MESSAGE_MAX_BYTES, 0).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def log_tail(file: Path) -> str:
    """The end of a log, as a message; empty when it cannot be read."""
    try:
        return logs.last_text(file, LOG_MAX_LINES, LOG_MAX_BYTES)
    except OSError:
        return ""
