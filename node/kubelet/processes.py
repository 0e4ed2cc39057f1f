"""Tells the moment at which a container's first process ends: the kernel knows it first.

The runtime notices later, and never when the monitor of the container (conmon) has died.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from node.runtime.base import ContainerStatus

Stop = Callable[[], None]


class Processes(Protocol):
    """Watches processes of containers."""

    def watch(self, status: ContainerStatus, ended: Callable[[], None]) -> Stop | None:
        """Call `ended` once, when the process of a running container ends.

        Answers what stops the watching, or None when the process is not there any more.
        """
        ...


class PidfdProcesses:
    """Watches processes of this machine by pidfd: no polling, and no mistaken identity later."""

    def watch(self, status: ContainerStatus, ended: Callable[[], None]) -> Stop | None:
        """Call `ended` once, when the process ends."""
        try:
            descriptor = os.pidfd_open(status.pid)
        except OSError:
            return None
        if not _is_of_container(status):
            os.close(descriptor)
            return None
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)

        def on_end() -> None:
            stop()
            ended()

        loop.add_reader(descriptor, on_end)
        return stop


def _is_of_container(status: ContainerStatus) -> bool:
    """Whether the process is the container's, and not another that was given its number."""
    try:
        return status.id in Path(f"/proc/{status.pid}/cgroup").read_text()
    except OSError:
        return False
