"""What is typed or piped into a command, whatever it comes from."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from common.cli.pods import terminal

SECONDS = 10.0


async def everything(descriptor: int) -> bytes:
    async with asyncio.timeout(SECONDS):
        return b"".join([data async for data in terminal.typed(descriptor)])


async def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"typed")
    os.close(writing)
    assert await everything(reading) == b"typed"
    os.close(reading)


@pytest.mark.parametrize(("path", "content"), [("/dev/null", b""), ("file", b"in a file")])
async def test_what_never_lets_wait_is_read_as_well(
    tmp_path: Path, path: str, content: bytes
) -> None:
    """As without a terminal, in cron: an event loop cannot wait for it."""
    (tmp_path / "file").write_bytes(b"in a file")
    with (tmp_path / path).open("rb") as file:
        assert await everything(file.fileno()) == content
