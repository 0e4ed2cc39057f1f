"""What systemd says of the machine."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

SYSTEMD = Path("/run/systemd/system")
"""Is there where systemd runs the machine (sd_booted(3))."""
ANSWER_SECONDS = 5.0


def runs_here(systemd: Path = SYSTEMD) -> bool:
    """Whether systemd runs this machine."""
    return systemd.is_dir()


async def is_going_down(systemd: Path = SYSTEMD) -> bool:
    """Whether the whole machine is being stopped, and not this service alone."""
    if not runs_here(systemd):
        return False
    said = b""
    with contextlib.suppress(OSError, TimeoutError):
        process = await asyncio.create_subprocess_exec(
            "systemctl",
            "is-system-running",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(ANSWER_SECONDS):
            said, _ = await process.communicate()
    return said.strip() == b"stopping"
