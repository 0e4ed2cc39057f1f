"""A service that stops, and a machine that does."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.systemd.machine import is_going_down


@pytest.mark.parametrize(
    ("said", "down"), [("stopping", True), ("running", False), ("degraded", False), ("", False)]
)
async def test_systemd_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, down: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$1" = is-system-running ] && echo {said}; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert await is_going_down(tmp_path) is down


async def test_without_systemd_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await is_going_down(tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not await is_going_down(tmp_path), "there is no systemctl"
