"""The log level is changed by a signal, of our own loggers only."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.systemd import levels


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put the levels back."""
    before = {name: logging.getLogger(name).level for name in levels.OURS}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(("level", "said"), [("debug", 10), ("info", 20), ("warning", 30)])
async def test_a_signal_changes_the_level(level: str, said: int) -> None:
    loop = asyncio.get_running_loop()
    levels.follow_signals()
    try:
        os.kill(os.getpid(), levels.SIGNALS[level])
        async with asyncio.timeout(5):
            while logging.getLogger("master.x").getEffectiveLevel() != said:
                await asyncio.sleep(0)
    finally:
        for number in levels.SIGNALS.values():
            loop.remove_signal_handler(number)
    assert logging.getLogger("aiohttp").level == logging.NOTSET


def wherry(tmp_path: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wherry log-level` on a machine whose systemctl is a script."""
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    code = "from common.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "log-level", *arguments],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_service_is_told(tmp_path: Path) -> None:
    done = wherry(tmp_path, f'echo "$@" > {tmp_path}/asked', "kubelet", "debug")
    assert done.stdout == "wherry-kubelet.service logs debug and above until it restarts\n"
    asked = (tmp_path / "asked").read_text().split()
    number = int(levels.SIGNALS["debug"])
    assert asked == ["kill", "--kill-whom=main", f"--signal={number}", "wherry-kubelet.service"]


def test_a_service_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = wherry(tmp_path, 'echo "Unit is not loaded." >&2; exit 5', "master", "info")
    assert done.returncode == 1
    assert done.stderr == "wherry: wherry-master.service was not told: Unit is not loaded.\n"
