"""Compaction: history older than a few minutes is given up, so that etcd does not grow."""

import logging
from collections.abc import Sequence

from common.runtime.clock import Clock
from master.storage.keys import COMPACTION
from master.storage.store import Conflict, KeyExists, NoSpace, Store, StoreError

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 300.0
RETENTION_SECONDS = 300.0

Sample = tuple[float, int]
"""A monotonic time in seconds, and the store's revision then."""


def compactable(samples: Sequence[Sample], now_seconds: float, retention_seconds: float) -> int:
    """The newest revision that is at least `retention_seconds` old; 0 if none is."""
    old = [rev for seconds, rev in samples if now_seconds - seconds >= retention_seconds]
    return max(old, default=0)


class Compactor:
    """Compacts a store every five minutes. Several masters doing so at once do no harm."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._samples: list[Sample] = []

    async def run(self) -> None:
        """Go on until cancelled; a store that does not answer is asked again next time."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                log.warning("compaction failed", extra={"cause": str(error)})
            await self._clock.sleep(INTERVAL_SECONDS)

    async def step(self) -> int:
        """Compact what is due and note a new revision. The revision compacted, or 0."""
        now_seconds = self._clock.monotonic()
        revision = compactable(self._samples, now_seconds, RETENTION_SECONDS)
        if revision:
            await self._store.compact(revision)
            log.info("store compacted", extra={"revision": revision})
        self._samples = [sample for sample in self._samples if sample[1] > revision]
        self._samples.append((now_seconds, await self._mark()))
        return revision

    async def _mark(self) -> int:
        """A revision that is new: otherwise the present one would stay readable while nothing is
        written, and a list that is continued would never expire, as it does in Kubernetes."""
        marked, revision = await self._store.get(COMPACTION)
        try:
            if marked is None:
                return await self._store.create(COMPACTION, b"")
            return await self._store.update(COMPACTION, b"", expected_revision=marked.revision)
        except (Conflict, KeyExists):  # another master has just done it
            return revision
        except NoSpace:  # what there is to give up must be given up all the more
            return revision
