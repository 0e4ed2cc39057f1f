"""Calls that last: they end when the certificate or the token of their caller counts no longer,
and streams when their caller has lost the right to them, too."""

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


class _Live(NamedTuple):
    identity: Identity
    check: Callable[[], None] | None
    """Raises StatusError once the caller may not do this any more."""


class LiveCalls:
    """The tasks that answer calls, and who called."""

    def __init__(self, problem: Callable[[Identity], str], clock: Clock) -> None:
        """`problem` says why somebody's credentials do not count; '' when they do."""
        self._problem = problem
        self._clock = clock
        self._tasks: dict[asyncio.Task[object], _Live] = {}

    def begin(
        self, identity: Identity, check: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """The current task answers a caller, until what is returned is called.

        `check` raises StatusError once the caller may not do any more what the task does.
        """
        task = asyncio.current_task()
        if task is None or not (identity.serial or identity.bound or check):
            return lambda: None
        self._tasks[task] = _Live(identity, check)

        def end() -> None:
            self._tasks.pop(task, None)

        return end

    async def run(self) -> None:
        """Look after all of them until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            for task, live in list(self._tasks.items()):
                if (error := self._ended(live)) is not None:
                    self._tasks.pop(task, None)
                    task.cancel(Ended(error))

    def _ended(self, live: _Live) -> StatusError | None:
        """Why a call must not go on."""
        if problem := self._problem(live.identity):
            return errors.unauthorized(problem)
        try:
            if live.check is not None:
                live.check()
        except StatusError as error:
            return error
        return None


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
