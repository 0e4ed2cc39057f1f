"""What a proxy watches, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from common.etcd.types import Event, KeyValue, RangeResult, WatchBatch


def item(key: str, value: bytes, revision: int) -> KeyValue:
    """A key of the store."""
    return KeyValue(key.encode(), value, revision, revision)


class Gateway:
    """A store with history; a watch hands out what comes, and ends with the fault that is set."""

    def __init__(self) -> None:
        self.items: dict[str, KeyValue] = {}
        self.revision = 1
        self.lists = 0
        self.faults: list[Exception] = []
        self._watches: dict[str, asyncio.Queue[WatchBatch | Exception]] = {}

    async def range(self, key: bytes, range_end: bytes) -> RangeResult:
        """All keys with a prefix."""
        if self.faults:
            raise self.faults.pop()
        self.lists += 1
        found = tuple(i for name, i in self.items.items() if name.startswith(key.decode()))
        return RangeResult(found, False, len(found), self.revision)

    async def watch(
        self, key: bytes, range_end: bytes, **_: Any
    ) -> AsyncGenerator[WatchBatch, None]:
        """What `put` says from now on."""
        queue = self._watches[key.decode()] = asyncio.Queue()
        while True:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            yield found

    def put(self, key: str, value: bytes, *, told: bool = True) -> None:
        """Write a key, and tell who watches."""
        self.revision += 1
        self.items[key] = item(key, value, self.revision)
        event = Event(False, self.items[key], None)
        for prefix, queue in self._watches.items():
            if key.startswith(prefix) and told:
                queue.put_nowait(WatchBatch((event,), self.revision))

    def end_watches(self, error: Exception) -> None:
        """Break them all."""
        for queue in self._watches.values():
            queue.put_nowait(error)
