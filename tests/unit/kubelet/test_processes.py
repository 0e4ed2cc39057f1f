"""Watching a process by its pidfd: whatever it calls itself, and without leaving descriptors."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.kubelet.effects import processes
from node.kubelet.effects.processes import PidfdProcesses
from node.runtime.base import ContainerStatus
from tests.fakes.pods import ran

NAMES_ITSELF = r"printf '\377\376) (' > /proc/$$/comm; echo named; read line"


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process whose name is not UTF-8 and looks like the end of one."""
    pipe = asyncio.subprocess.PIPE
    made = await asyncio.create_subprocess_exec("sh", "-c", NAMES_ITSELF, stdin=pipe, stdout=pipe)
    assert made.stdout is not None
    assert await made.stdout.readline() == b"named\n"
    yield made
    if made.returncode is None:
        made.kill()
    await made.wait()


def status_of(process: asyncio.subprocess.Process) -> ContainerStatus:
    """A container whose id is all that the process's cgroup is called."""
    name = Path(f"/proc/{process.pid}/cgroup").read_text().strip()
    return replace(ran(), id=name, pid=process.pid)


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_process_may_be_called_anything(process: asyncio.subprocess.Process) -> None:
    before, ended = descriptors(), asyncio.Event()
    stop = PidfdProcesses().watch(status_of(process), ended.set)
    assert stop is not None
    process.kill()
    await asyncio.wait_for(ended.wait(), 5)
    assert descriptors() <= before


async def test_a_watch_that_fails_leaves_no_descriptor(
    process: asyncio.subprocess.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(pid: int) -> None:
        raise ValueError(pid)

    monkeypatch.setattr(processes, "_open_monitor", fail)
    before = descriptors()
    with pytest.raises(ValueError, match=str(process.pid)):
        PidfdProcesses().watch(status_of(process), lambda: None)
    assert descriptors() == before
