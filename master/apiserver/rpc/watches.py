"""Watches over gRPC: what their callers have not read is counted, with what clients of REST have
not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Self

from common.api import errors
from common.limits.unread import Unread
from master.apiserver.auth.live import Ended
from master.apiserver.registry.reads import Event


class Writer:
    """Sends events to the caller of a watch, for whom the current task is at work.

    What waits, here and in the subscription, is held for the caller until it has read it. When
    there is too much of that in all, the task ends with StatusError 429.
    """

    def __init__(
        self, send: Callable[[Event], Awaitable[None]], unread: Unread, owner: str
    ) -> None:
        """`send` returns when there is room for the next event."""
        task = asyncio.current_task()
        assert task is not None, "a call is answered by a task"

        def end() -> None:
            error = errors.too_many_requests("the watch is not read", retry_after_seconds=1)
            task.cancel(Ended(error))

        self._send = send
        self._holding = unread.hold(owner, end)
        self._sending: list[bytes] = []

    def __enter__(self) -> Self:
        """Nothing is held yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held any more."""
        self._holding.clear()

    async def write(self, events: list[Event]) -> None:
        """Send a batch, all that is queued, and forget it."""
        self._sending = _bytes_of(events)
        self._hold_only_what_is_sent()
        for event in events:
            with self._holding.turn():
                await self._send(event)
        self._holding.drop(len(self._sending))
        self._sending = []
        events.clear()  # or the caller would keep it until the next batch comes

    def take(self, events: Sequence[Event]) -> bool:
        """Nothing: only a task can wait until gRPC has room for more."""
        return False

    def queued(self, events: Sequence[Event]) -> None:
        """A batch waits for the reader."""
        self._holding.add(_bytes_of(events))

    def cut_off(self) -> None:
        """What was queued is forgotten. The caller hears of it behind what is being sent."""
        self._hold_only_what_is_sent()

    def _hold_only_what_is_sent(self) -> None:
        self._holding.clear()
        self._holding.add(self._sending)


def _bytes_of(events: Iterable[Event]) -> list[bytes]:
    return [event.entry.data for event in events if event.entry is not None]
