"""Renews certificates while the master runs: each at two thirds of its life, and one that a wrong
clock has dated into the future."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from common.runtime.clock import Clock

log = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
"""How often it is looked at the clock: it may be set, and a machine may sleep."""


class Renewable(NamedTuple):
    """Something that is renewed."""

    name: str
    is_due: Callable[[datetime], bool]
    """Whether it is to be renewed, as of a time."""
    renew: Callable[[], Awaitable[None]]


class RenewalLoop:
    """Looks after one of them; a failure is the part's, and tried again."""

    def __init__(self, wanted: Renewable, clock: Clock) -> None:
        self._wanted = wanted
        self._clock = clock

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            one = self._wanted
            if one.is_due(self._clock.now()):
                await one.renew()
                log.info("certificates renewed", extra={"object": one.name})
            await self._clock.sleep(LOOK_SECONDS)
