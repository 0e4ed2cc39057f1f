"""Calls that last: they end with the credentials of their caller, and streams with the right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.api.errors import StatusError
from common.security.identity import Identity
from master.apiserver.auth.live import LOOK_SECONDS, LiveCalls, ending
from tests.fakes.clock import FakeClock

USER = Identity("u")
WITH_CERTIFICATE = Identity("u", serial="1")


class Setup:
    """Callers whose credentials and rights a test takes away."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.problem = ""
        self.refusal: StatusError | None = None
        self.live = LiveCalls(lambda _: self.problem, self.clock)

    def check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def answer(self, identity: Identity, *, is_stream: bool) -> None:
        """A call that would last for ever."""
        end = self.live.begin(identity, self.check if is_stream else None)
        try:
            with ending():
                await asyncio.Event().wait()
        finally:
            end()


@pytest_asyncio.fixture
async def setup() -> AsyncIterator[Setup]:
    made = Setup()
    looking = asyncio.create_task(made.live.run())
    yield made
    looking.cancel()


async def test_a_stream_ends_when_its_caller_has_lost_the_right(setup: Setup) -> None:
    stream = asyncio.create_task(setup.answer(USER, is_stream=True))
    await setup.clock.advance(2 * LOOK_SECONDS)
    assert not stream.done()
    setup.refusal = StatusError(403, "Forbidden", "no more")
    await setup.clock.advance(2 * LOOK_SECONDS)
    with pytest.raises(StatusError, match="no more"):
        await stream


async def test_another_call_goes_on_without_the_right(setup: Setup) -> None:
    call = asyncio.create_task(setup.answer(WITH_CERTIFICATE, is_stream=False))
    setup.refusal = StatusError(403, "Forbidden", "no more")
    await setup.clock.advance(2 * LOOK_SECONDS)
    assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("is_stream", [True, False])
async def test_every_call_ends_with_the_credentials(setup: Setup, is_stream: bool) -> None:
    call = asyncio.create_task(setup.answer(WITH_CERTIFICATE, is_stream=is_stream))
    await setup.clock.advance(0.1)
    setup.problem = "the certificate is revoked"
    await setup.clock.advance(2 * LOOK_SECONDS)
    with pytest.raises(StatusError, match="revoked"):
        await call
