"""A reader of the watch cache: bounded, woken once a batch, and cut off when it is too slow."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from master.storage.entry import CacheEvent

log = logging.getLogger(__name__)

MAX_QUEUED_EVENTS = 1_000
MAX_QUEUED_BYTES = 8 * 1024 * 1024


class WatchEnded(Exception):
    """A subscription is over; the reader lists again."""


class TooOld(WatchEnded):
    """The history does not reach back to the revision asked for: 410 Gone."""


class TooSlow(WatchEnded):
    """The reader left too much unread."""


class CacheStopped(WatchEnded):
    """The cache is shut down."""


class Receiver(Protocol):
    """Takes events as they happen, in the cache's own turn, so that no reader need be woken.

    To wake a task and let it wait again costs more than a write to a TLS socket does. All
    methods return at once.
    """

    def take(self, events: Sequence[CacheEvent]) -> bool:
        """Take what happened, all of it; or nothing and return False, and the reader is woken."""

    def queued(self, events: Sequence[CacheEvent]) -> None:
        """They wait for the reader, who is given all that wait at once."""

    def cut_off(self) -> None:
        """The subscription ended with an error, which the reader may be too stuck to hear of."""


class Subscription:
    """An async iterator of lists of events; use it in a `with`, or call `close`.

    What is handed out at once contains all events of each of its revisions. While the reader
    waits, a receiver is asked first; what it takes counts as handed out.
    """

    def __init__(
        self,
        prefix: str,
        since_revision: int,
        backlog: list[CacheEvent],
        cache_revision: Callable[[], int],
        on_close: Callable[["Subscription"], None],
        *,
        receiver: Receiver | None = None,
    ) -> None:
        self.prefix = prefix
        self.since_revision = since_revision
        self._seen = since_revision
        self._backlog = backlog
        self._queue: list[CacheEvent] = []
        self._queued_bytes = 0
        self._cache_revision = cache_revision
        self._on_close = on_close
        self._receiver = receiver
        self._wake: asyncio.Future[None] | None = None
        self._error: WatchEnded | None = None

    def __enter__(self) -> "Subscription":
        """Nothing to do: it is subscribed since it was made."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Unsubscribe."""
        self.close()

    def __aiter__(self) -> "Subscription":
        """Itself."""
        return self

    async def __anext__(self) -> list[CacheEvent]:
        """All that has happened since the last call; waits for something to happen.

        Raises WatchEnded, at once and not behind what is still queued.
        """
        while True:
            if batch := await self._next(asyncio.get_running_loop().create_future()):
                return batch

    async def within(self, seconds: float) -> list[CacheEvent]:
        """As the iterator, and nothing when nothing is left for the reader for so long."""
        loop = asyncio.get_running_loop()
        wake = loop.create_future()
        timer = loop.call_later(seconds, _wake, wake)
        try:
            return await self._next(wake)
        finally:
            timer.cancel()

    async def _next(self, wake: asyncio.Future[None]) -> list[CacheEvent]:
        """What is unread; if nothing is, what is there once somebody has woken the reader."""
        if not (self._backlog or self._queue or self._error):
            self._wake = wake
            try:
                await wake
            finally:
                self._wake = None
        if self._error is not None:
            raise self._error
        if batch := self._take():
            self._seen = batch[-1].entry.revision
        return batch

    @property
    def revision(self) -> int:
        """The revision up to which everything was handed out: what a bookmark may say."""
        if self._backlog or self._queue:
            return self._seen
        return max(self._seen, self._cache_revision())

    def push(self, events: Sequence[CacheEvent]) -> None:
        """Take the events of one batch; cuts the reader off when it does not keep up.

        One batch is always taken, so that a reader has had its chance.
        """
        if self._received(events):
            self._seen = events[-1].entry.revision
            return
        size_bytes = sum(len(event.entry.data) for event in events)
        full = len(self._queue) + len(events) > MAX_QUEUED_EVENTS
        if self._queue and (full or self._queued_bytes + size_bytes > MAX_QUEUED_BYTES):
            self.end(TooSlow(f"{len(self._queue)} events are unread"))
            return
        self._queue += events
        self._queued_bytes += size_bytes
        self._tell_queued(events)
        self._notify()

    def end(self, error: WatchEnded) -> None:
        """End the reader with an error."""
        self._error = error
        self.close()
        self._notify()
        if self._receiver is not None:
            self._receiver.cut_off()

    def close(self) -> None:
        """Unsubscribe and forget what is unread."""
        self._backlog, self._queue = [], []
        self._on_close(self)

    def _received(self, events: Sequence[CacheEvent]) -> bool:
        """Whether the receiver took them. A reader that waits has passed on all that was before."""
        if self._receiver is None or self._wake is None or self._wake.done():
            return False
        try:
            return self._receiver.take(events)
        except Exception:  # whatever it is, it is the fault of one reader and none of the cache's
            log.exception("a receiver failed", extra={"object": self.prefix})
            return False

    def _tell_queued(self, events: Sequence[CacheEvent]) -> None:
        """A receiver counts what waits for its reader."""
        if self._receiver is None:
            return
        try:
            self._receiver.queued(events)
        except Exception:  # as above
            log.exception("a receiver failed", extra={"object": self.prefix})

    def _take(self) -> list[CacheEvent]:
        batch = self._backlog + self._queue if self._backlog else self._queue
        self._backlog, self._queue, self._queued_bytes = [], [], 0
        return batch

    def _notify(self) -> None:
        if self._wake is not None:
            _wake(self._wake)


def _wake(reader: asyncio.Future[None]) -> None:
    if not reader.done():
        reader.set_result(None)
