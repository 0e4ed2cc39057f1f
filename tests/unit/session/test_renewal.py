"""When a node's certificate is renewed, and what is left to a person."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from common.security.digest import digest
from node.session import credentials
from node.session.credentials import Credentials, Held
from node.session.renewal import AWAY, REFUSED, Renewal, Situation, Step, decide
from tests.fakes.clock import FakeClock
from tests.fakes.rng import SeededRng

DAY = timedelta(minutes=10)
"""Shorter than others: the clock is looked at every five seconds."""
BLOCKS = b"".join(
    b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n" % (name, name)
    for name in (b"CERTIFICATE", b"PRIVATE KEY")
)


@pytest.mark.parametrize(
    ("days", "wanted", "refused", "new_token", "step"),
    [
        (0, False, False, True, Step.NOTHING),
        (4.6, False, False, False, Step.NOTHING),
        (4.7, False, False, True, Step.RENEW),
        (0, True, False, False, Step.RENEW),
        (0, False, True, False, Step.TELL),
        (0, True, True, True, Step.JOIN),
        (7, True, False, False, Step.TELL),
        (400, False, False, True, Step.JOIN),
    ],
)
def test_what_is_done(
    days: float, wanted: bool, refused: bool, new_token: bool, step: Step
) -> None:
    began = FakeClock().now()
    at = Situation(
        now=began + days * DAY,
        renew=began + 14 * DAY / 3,
        expires=began + 7 * DAY,
        wanted=wanted,
        refused=refused,
        new_token=new_token,
    )
    assert decide(at) is step


class World:
    """A node with a certificate of seven days, and a master that signs, or not."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.directory = directory
        self.token_file = directory / "token"
        self.asked: list[str] = []
        self.answer = (0, "")
        self.connected = False
        (directory / credentials.CA_FILE).write_bytes(b"CA")
        self.held = Held(self.issue())
        self.renewal = Renewal(
            directory,
            self.held,
            str(self.token_file),
            self.enroll,
            lambda: self.connected,
            clock=self.clock,
            rng=SeededRng(),
        )

    def issue(self) -> Credentials:
        """A certificate that begins now."""
        now = self.clock.now()
        text = credentials.text_of(BLOCKS, b"", now + 14 * DAY / 3, now + 7 * DAY)
        (self.directory / credentials.IDENTITY_FILE).write_bytes(text)
        found = credentials.load(self.directory)
        assert found is not None
        return found

    async def enroll(self, token_file: str) -> tuple[int, str]:
        self.asked.append(token_file)
        if not self.answer[0]:
            self.issue()
        return self.answer

    async def days(self, days: float) -> None:
        """Let so many days pass."""
        await self.clock.advance(days * DAY.total_seconds())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    running = asyncio.create_task(made.renewal.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_is_renewed_again_and_again(world: World) -> None:
    first = world.held.current
    await world.days(4.6)
    assert world.asked == []
    await world.days(0.2)
    assert world.asked == [""]
    assert world.held.current.expires > first.expires
    assert world.held.changed.is_set()
    await world.days(4.8)
    assert world.asked == ["", ""]


async def test_a_master_that_is_away_is_asked_until_it_is_there(world: World) -> None:
    world.answer = (AWAY, "cannot reach it")
    await world.days(5)
    tries = len(world.asked)
    assert 3 < tries < 600, "again, and not without a pause"
    world.answer = (0, "")
    await world.clock.advance(301)
    assert len(world.asked) == tries + 1
    await world.clock.advance(301)
    assert len(world.asked) == tries + 1


async def test_after_its_end_a_new_token_is_awaited_and_tried_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answer = (AWAY, "cannot reach it")
    await world.days(8)
    del world.asked[:]
    await world.days(0.1)
    assert world.asked == []
    told = [r for r in caplog.records if "needs a new join token" in r.message]
    assert [r.levelname for r in told] == ["ERROR"], "once"
    world.answer = (REFUSED, "the join token has been used as often as it may be")
    world.token_file.write_text("W1...")
    await world.days(0.1)
    assert world.asked == [str(world.token_file)], "the same token is not tried again"
    world.answer = (0, "")
    world.token_file.write_text("W1... another one")
    await world.clock.advance(6)
    assert len(world.asked) == 2
    assert world.held.current.expires > world.clock.now()
    await world.days(1)
    assert len(world.asked) == 2


async def test_the_token_that_has_let_it_in_is_no_new_one(world: World) -> None:
    """Whoever deletes a Node would see it again, if the file was left where it was."""
    world.token_file.write_text("W1...\n")
    (world.directory / credentials.JOINED_BY_FILE).write_text(digest(b"W1..."))
    world.renewal.refused()
    await world.clock.advance(60)
    assert world.asked == []
    world.token_file.write_text("W1... another one\n")
    await world.clock.advance(6)
    assert world.asked == [str(world.token_file)]


async def test_who_is_refused_joins_anew_by_the_token_that_is_there(world: World) -> None:
    world.connected = True
    world.token_file.write_text("W1...")
    await world.clock.advance(6)
    assert world.asked == []
    world.connected = False
    world.renewal.refused()
    await world.clock.advance(0.1)
    assert world.asked == [str(world.token_file)]


async def test_a_refusal_that_is_over_is_forgotten(world: World) -> None:
    """As when the master's clock was wrong for a minute: nobody would renew it ever again."""
    world.renewal.refused()
    await world.days(0.1)
    world.connected = True
    await world.days(4.8)
    assert world.asked == [""]


async def test_who_is_cut_off_joins_by_a_token_that_came_after_its_certificate(
    world: World,
) -> None:
    """As one that was left behind when the authorities were replaced."""
    written = (world.directory / credentials.IDENTITY_FILE).stat().st_mtime_ns
    world.token_file.write_text("W1...")
    os.utime(world.token_file, ns=(written - 1, written - 1))
    await world.days(0.1)
    assert world.asked == [], "this is the one by which it has joined"
    world.connected = True
    os.utime(world.token_file, ns=(written + 1, written + 1))
    await world.days(0.1)
    assert world.asked == [], "nothing is wrong"
    world.connected = False
    await world.clock.advance(11)
    assert world.asked == [str(world.token_file)]


async def test_a_token_that_cannot_be_read_is_told_when_it_is_needed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.token_file.mkdir()
    world.connected = True
    await world.days(4)
    assert "cannot read the join token" not in caplog.text
    world.connected = False
    world.renewal.refused()
    await world.clock.advance(1)
    assert "cannot read the join token" in caplog.text
