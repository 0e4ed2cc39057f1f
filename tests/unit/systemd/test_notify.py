"""What systemd is told, and what it is not told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.systemd.notify import Notifier
from tests.fakes.clock import FakeClock
from tests.fakes.peers.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    made = Systemd(address)
    yield made
    made.close()


def test_states_are_told(address: str, systemd: Systemd) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": address})
    notifier.ready("serving\nhttps://10.0.0.1:6443")
    notifier.alive()
    notifier.stopping()
    ready = "READY=1\nSTATUS=serving https://10.0.0.1:6443"
    assert systemd.heard() == [ready, "STOPPING=1\nSTATUS=stopping"]


async def test_signs_of_life_come_three_times_in_each_period(
    address: str, systemd: Systemd
) -> None:
    clock = FakeClock()
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}
    task = asyncio.create_task(Notifier.of(environment).keep_alive(clock))
    await clock.advance(59.9)
    assert systemd.heard() == ["WATCHDOG=1"] * 6
    task.cancel()


async def test_without_a_watchdog_there_are_none(address: str, systemd: Systemd) -> None:
    clock = FakeClock()
    for environment in (
        {"NOTIFY_SOCKET": address},
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid() + 1)},
    ):
        task = asyncio.create_task(Notifier.of(environment).keep_alive(clock))
        await clock.advance(100)
        task.cancel()
    assert systemd.heard() == []


def test_children_do_not_speak_for_this_process(address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1", "PATH": "/bin"}
    Notifier.take(environment)
    assert environment == {"PATH": "/bin"}


def test_nobody_who_listens_is_no_error(tmp_path: Path) -> None:
    Notifier.of({}).ready("up")
    Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("up")
