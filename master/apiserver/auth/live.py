"""Calls that last: they end when the certificate or the token of their caller counts no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from common.api import errors
from common.api.errors import StatusError
from common.runtime.clock import Clock
from common.security.identity import Identity

LOOK_SECONDS = 2.0


class Ended(NamedTuple):
    """The message by which a call is cancelled: what its caller is told."""

    error: StatusError


class LiveCalls:
    """The tasks that answer calls, and who called."""

    def __init__(self, problem: Callable[[Identity], str], clock: Clock) -> None:
        """`problem` says why somebody's credentials do not count; '' when they do."""
        self._problem = problem
        self._clock = clock
        self._tasks: dict[asyncio.Task[object], Identity] = {}

    def begin(self, identity: Identity) -> Callable[[], None]:
        """The current task answers a caller, until what is returned is called."""
        task = asyncio.current_task()
        if task is None or not (identity.serial or identity.bound):
            return lambda: None
        self._tasks[task] = identity

        def end() -> None:
            self._tasks.pop(task, None)

        return end

    async def run(self) -> None:
        """Look after all of them until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            for task, identity in list(self._tasks.items()):
                if problem := self._problem(identity):
                    self._tasks.pop(task, None)
                    task.cancel(Ended(errors.unauthorized(problem)))


@contextmanager
def ending() -> Iterator[None]:
    """A call that is ended inside the block raises the StatusError that it is ended with."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if not error.args or not isinstance(error.args[0], Ended) or task is None:
            raise
        task.uncancel()
        raise error.args[0].error from error
