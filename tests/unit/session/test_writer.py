"""The disk is written in order, beside the event loop, and what fails is said and ends nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from common.runtime.offload import Offload
from node.session.writer import DiskWriter

WAIT_SECONDS = 10.0


class Disk:
    """Notes what is written; hangs while `works` is not set."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.works = threading.Event()
        self.begun = threading.Event()

    def write(self, text: str) -> None:
        """Blocks until the disk works."""
        self.begun.set()
        assert self.works.wait(WAIT_SECONDS)
        self.written.append(text)

    async def wrote(self, count: int) -> list[str]:
        """Wait until so much has been written."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.written) < count:
                await asyncio.sleep(0.01)
        return self.written


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def writer(disk: Disk) -> AsyncIterator[DiskWriter]:
    """A writer that runs."""
    offload = Offload()
    made = DiskWriter(offload)
    running = asyncio.create_task(made.run())
    yield made
    assert not running.done()
    disk.works.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    offload.close()


async def test_a_disk_that_hangs_holds_up_nobody_and_gets_the_newest_in_order(
    disk: Disk, writer: DiskWriter
) -> None:
    writer.put("a", partial(disk.write, "a1"))
    async with asyncio.timeout(WAIT_SECONDS):
        while not disk.begun.is_set():
            await asyncio.sleep(0.01)
    for about, text in (("a", "a2"), ("b", "b1"), ("c", "c1"), ("a", "a3")):
        writer.put(about, partial(disk.write, text))
    assert disk.written == []
    disk.works.set()
    assert await disk.wrote(4) == ["a1", "b1", "c1", "a3"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("embedded null byte")]
)
async def test_what_cannot_be_written_is_said_and_the_next_is_written(
    disk: Disk, writer: DiskWriter, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> None:
        raise error

    disk.works.set()
    writer.put("pod-1", fail)
    writer.put("pod-2", partial(disk.write, "pod-2"))
    assert await disk.wrote(1) == ["pod-2"]
    [said] = caplog.records
    assert (vars(said)["object"], vars(said)["error"]) == ("pod-1", str(error))
