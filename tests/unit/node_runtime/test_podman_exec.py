"""Commands through a Podman that answers late, or not at all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from node.runtime.base import RuntimeUnavailable, Stdio
from node.runtime.podman_exec import PodmanExec

SECONDS = 10.0
ANY_CONTAINER = ":/"
"""In the name of each process's control group."""


class Service:
    """A service of Podman's that begins every command as one process."""

    def __init__(self, pid: int = 0) -> None:
        self._pid = pid
        self.asked_to_start = asyncio.Event()
        self.starts = False
        """Whether it says so."""
        self.lost: set[str] = set()
        """Ends of paths of calls that have no answer."""

    async def call_on_loop(self, _method: str, path: str, **_: Any) -> Any:
        """As PodmanService."""
        if any(path.endswith(end) for end in self.lost):
            raise RuntimeUnavailable("Podman does not answer")
        return {"Id": "s1", "Running": True, "Pid": self._pid}

    @asynccontextmanager
    async def hijacked(
        self, _path: str, **_: Any
    ) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
        """As PodmanService."""
        self.asked_to_start.set()
        if not self.starts:
            await asyncio.Event().wait()
        yield asyncio.StreamReader(), None


def exec_of(service: Service) -> PodmanExec:
    return PodmanExec(service)  # type: ignore[arg-type]


async def test_a_command_whose_user_leaves_while_it_is_started_is_killed() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    service = Service(process.pid)

    async def run() -> None:
        async with exec_of(service).start(ANY_CONTAINER, ["sleep", "1000"], Stdio()):
            raise AssertionError

    running = asyncio.create_task(run())
    try:
        async with asyncio.timeout(SECONDS):
            await service.asked_to_start.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_size_that_podman_does_not_take_ends_no_input() -> None:
    service = Service()
    service.starts = True
    service.lost = {"/resize"}
    async with exec_of(service).start("c1", ["sh"], Stdio(terminal=True)) as streams:
        await streams.resize(80, 24)
