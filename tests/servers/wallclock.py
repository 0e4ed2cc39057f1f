"""The wall clock of chosen processes, by libfaketime: nobody else's, and never the host's."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""libfaketime 0.9 fails the system call that Python's own uses."""
LIBRARIES = Path("/usr/lib")


class WallClock:
    """A clock that can be set while its processes run; their monotonic one goes on."""

    def __init__(self, directory: Path) -> None:
        """Skips the test where libfaketime is missing, unless CI is set."""
        found = sorted(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            if os.environ.get("CI") == "true":
                pytest.fail("faketime is not installed")
            pytest.skip("faketime is not installed")
        self._file = directory / "faketime"
        self.set(timedelta())
        (directory / "sitecustomize.py").write_text(SLEEP)
        self.environment = {
            "PYTHONPATH": str(directory),
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        """What a process needs to have it."""

    def set(self, ahead: timedelta) -> None:
        """From now on it is so much ahead of the host's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}s\n")
        new.rename(self._file)
