"""What people are told of an etcd that is away, full, or back."""

import asyncio
import logging
from typing import Any, cast

import pytest

from common.etcd.client import EtcdClient
from common.etcd.errors import Unavailable
from common.etcd.types import Alarm, RangeResult, Status
from master.storage.health import ASK_SECONDS, FULL, SILENT_SECONDS, EtcdHealth
from tests.fakes.clock import FakeClock


class Client:
    """An etcd that answers, or does not."""

    def __init__(self) -> None:
        self.error: Unavailable | None = None
        self.alarms: tuple[Alarm, ...] = ()

    async def range(self, key: bytes) -> RangeResult:
        if self.error:
            raise self.error
        return RangeResult((), more=False, count=0, revision=1)

    async def status(self) -> Status:
        return Status(7, 1, 1, "3.4.23", 1, 1, alarms=self.alarms)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


async def test_silence_is_told_once_and_ends(said: Any) -> None:
    client, clock = Client(), FakeClock()
    full_disk = ["the disk is full"]
    health = EtcdHealth(cast(EtcdClient, client), b"/k", clock, lambda: full_disk[0])
    running = asyncio.create_task(health.run())
    await clock.advance(60)
    assert (health.silence(), said()) == ("", [])
    client.error = Unavailable("failed to connect")
    await clock.advance(SILENT_SECONDS - ASK_SECONDS)
    assert health.silence() == ""
    await clock.advance(54 + ASK_SECONDS)
    assert health.silence() == ("it has not answered for 60 s: failed to connect; the disk is full")
    client.error = None
    await clock.advance(ASK_SECONDS)
    assert (health.silence(), said()) == ("", ["etcd is away", "etcd is back"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_etcd_that_is_full_serves_and_is_told_of(said: Any) -> None:
    client, clock = Client(), FakeClock()
    health = EtcdHealth(cast(EtcdClient, client), b"/k", clock, str)
    running = asyncio.create_task(health.run())
    client.alarms = (Alarm(1, "NOSPACE"),)
    await clock.advance(60)
    assert (health.silence(), health.trouble()) == ("", FULL)
    client.alarms = ()
    await clock.advance(ASK_SECONDS)
    assert health.trouble() == ""
    assert said() == ["etcd is in trouble", "etcd has recovered"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
