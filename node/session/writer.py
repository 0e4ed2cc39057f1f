"""Writes to disk in order and off the event loop: a disk that hangs holds up no heartbeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from common.runtime.offload import Offload

log = logging.getLogger(__name__)


class DiskWriter:
    """One write after the other; of those about the same thing that wait, only the last is done.

    What cannot be written is logged: a full disk must not stop what runs, and the master tells
    again. A write that waits when the process ends is lost, as in a crash.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._due: dict[str, Callable[[], None]] = {}
        self._changed = asyncio.Event()

    def put(self, about: str, write: Callable[[], None]) -> None:
        """Have a blocking call made after all that came before."""
        self._due.pop(about, None)
        self._due[about] = write
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._due:
                about = next(iter(self._due))
                write = self._due.pop(about)
                try:
                    await self._offload(write)
                except (OSError, ValueError) as error:
                    log.warning("not written", extra={"object": about, "error": str(error)})
