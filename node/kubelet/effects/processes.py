"""Tells when a container's first process ends, by the kernel.

The runtime notices later, and never if the container's monitor (conmon) has died.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from node.runtime.base import ContainerStatus

log = logging.getLogger(__name__)
Stop = Callable[[], None]


class Processes(Protocol):
    """Watches processes of containers."""

    def watch(self, status: ContainerStatus, ended: Callable[[], None]) -> Stop | None:
        """Call `ended` once, when the process of a running container ends.

        Answers what stops the watching, or None when the process is not there any more.
        """
        ...


class PidfdProcesses:
    """Watches processes of this machine by pidfd: without polling, and safe when a pid is reused.

    If a container's monitor has died, nobody will read its log or its exit code: its process is
    killed, and the restart policy decides. containerd does the same.
    """

    def watch(self, status: ContainerStatus, ended: Callable[[], None]) -> Stop | None:
        """Call `ended` once, when the process ends."""
        try:
            descriptor = os.pidfd_open(status.pid)
        except OSError:
            return None
        try:
            is_of_container = _is_of_container(status)
            monitor = _open_monitor(status.pid) if is_of_container else None
        except BaseException:
            os.close(descriptor)
            raise
        if not is_of_container:
            os.close(descriptor)
            return None
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for one in (descriptor, monitor):
                if one is not None:
                    loop.remove_reader(one)
                    os.close(one)

        def on_end() -> None:
            stop()
            ended()

        def on_monitor_end(monitor: int) -> None:
            loop.remove_reader(monitor)
            _kill(descriptor, status)

        loop.add_reader(descriptor, on_end)
        if monitor is not None:
            loop.add_reader(monitor, on_monitor_end, monitor)
        elif _parent(status.pid) == 1:
            _kill(descriptor, status)
        return stop


def _kill(descriptor: int, status: ContainerStatus) -> None:
    """Kill a process whose monitor has died; it may have ended before."""
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return
    extra = {"object": f"{status.pod_namespace}/{status.pod_name}", "container": status.name}
    log.warning("the monitor of a container has died: its process is killed", extra=extra)


def _open_monitor(pid: int) -> int | None:
    """A pidfd of the conmon that is a process's parent; None when there is none."""
    parent = _parent(pid)
    try:
        descriptor = os.pidfd_open(parent)
    except (OSError, ValueError):
        return None
    try:
        if Path(f"/proc/{parent}/comm").read_bytes().startswith(b"conmon"):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone. Its name, in brackets, may hold any bytes."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _is_of_container(status: ContainerStatus) -> bool:
    """Whether the process is the container's, and not another one with a reused pid."""
    try:
        return status.id.encode() in Path(f"/proc/{status.pid}/cgroup").read_bytes()
    except OSError:
        return False
