"""Whether the kernel killed a container's process for memory.

Podman 4.3 does not tell (its OOMKilled is always false), and a container's cgroup and its
counters are gone when it has ended; the kernel's log names the victim's cgroup, on v1 and v2.
"""

from __future__ import annotations

import os

KERNEL_LOG = "/dev/kmsg"
_RECORD_BYTES = 8192
"""The longest record that the kernel writes; a shorter buffer is EINVAL."""


def was_oom_killed(container_id: str, path: str = KERNEL_LOG) -> bool:
    """Blocks for the time of one read of the kernel's log; False where that cannot be read."""
    try:
        log = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return any(_is_victim(record, container_id) for record in _records(log))
    finally:
        os.close(log)


def _is_victim(record: str, container_id: str) -> bool:
    """The kernel's line: `oom-kill:constraint=...,task_memcg=/.../libpod-ID,task=...,pid=...`."""
    _, marker, rest = record.partition("oom-kill:")
    return bool(marker) and container_id in rest.partition("task_memcg=")[2].split(",", 1)[0]


def _records(log: int) -> list[str]:
    """Every record that the kernel still holds."""
    records: list[str] = []
    while True:
        try:
            record = os.read(log, _RECORD_BYTES)
        except BrokenPipeError:  # overwritten before it was read: the next one is still there
            continue
        except BlockingIOError:
            return records
        if not record:  # a plain file, in tests
            return records
        records.extend(record.decode("utf-8", "replace").splitlines())
