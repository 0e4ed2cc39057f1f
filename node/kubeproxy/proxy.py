"""kube-proxy's shell: watches the gateway, keeps the table, and gives changes to the dataplane.

What is in the kernel stays when the gateway cannot be reached, when this process ends, and until
a new one has read everything: good rules are replaced, never taken away first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec

from common.etcd.client import EtcdClient, prefix_end
from common.etcd.errors import Compacted, EtcdError
from common.etcd.types import Event, KeyValue
from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from node.kubeproxy.dataplane.base import Dataplane, DataplaneError
from node.kubeproxy.objects import read_service, read_slice
from node.kubeproxy.rules import Piece, piece
from node.kubeproxy.table import Table

log = logging.getLogger(__name__)
T = TypeVar("T")
SERVICES = "/wherry/registry/services/"
SLICES = "/wherry/registry/endpointslices.discovery.k8s.io/"
INTERVAL_SECONDS = 0.25
"""At most four transactions a second, however many endpoints change."""
CHECK_SECONDS = 10.0
RETRY = Backoff(initial_seconds=0.2, cap_seconds=5.0, jitter=0.5)


class Prefix:
    """The keys below one prefix, as of a revision.

    A list tells every value again; whoever takes them knows what differs.
    """

    def __init__(self, name: str, put: Callable[[str, bytes], None], drop: Callable[[str], None]):
        self.name = name
        self._put, self._drop = put, drop
        self._keys: set[str] = set()
        self.revision = 0
        """Everything up to here is taken in; 0 before the first list."""

    def replace(self, items: Sequence[KeyValue], revision: int) -> None:
        """Take a whole list, also of a store that went back in time."""
        for key in self._keys.difference(map(self._key, items)):
            self._forget(key)
        for item in items:
            self._take(item)
        self.revision = revision

    def change(self, events: Sequence[Event]) -> None:
        """Take changes in their order; what is known already is passed over."""
        since = self.revision
        for event in events:
            if event.item.mod_revision <= since:
                continue
            if event.deleted:
                self._forget(self._key(event.item))
            else:
                self._take(event.item)
            self.revision = event.item.mod_revision

    def _key(self, item: KeyValue) -> str:
        return item.key.decode("utf-8", "replace").removeprefix(self.name)

    def _take(self, item: KeyValue) -> None:
        key = self._key(item)
        self._keys.add(key)
        self._put(key, item.value)

    def _forget(self, key: str) -> None:
        if key in self._keys:
            self._keys.remove(key)
            self._drop(key)


class Proxy:
    """Keeps the rules of this node equal to the services and endpoints of the cluster."""

    def __init__(
        self, client: EtcdClient, table: Table, dataplane: Dataplane, *, clock: Clock, rng: Rng
    ) -> None:
        self.table = table
        self._client = client
        self._dataplane = dataplane
        self._clock = clock
        self._rng = rng
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._whole = True
        """Whether the next transaction must make everything anew."""
        self.prefixes = (
            Prefix(SERVICES, self._put_service, self._drop_service),
            Prefix(SLICES, self._put_slice, self._drop_slice),
        )

    async def run(self) -> None:
        """Work until cancelled; the rules stay."""
        async with asyncio.TaskGroup() as group:
            for prefix in self.prefixes:
                group.create_task(self._follow(prefix), name=f"watch {prefix.name}")
            group.create_task(self._sync(), name="sync")
            group.create_task(self._check(), name="check")

    async def _follow(self, prefix: Prefix) -> None:
        """List, then watch; list again when history is lost or goes backwards."""
        failures = 0
        start, end = prefix.name.encode(), prefix_end(prefix.name.encode())
        while True:
            try:
                await self._list(prefix, start, end)
                failures = 0
                await self._watch(prefix, start, end)
            except Compacted:
                log.info("history is lost: listing again", extra={"object": prefix.name})
            except EtcdError as error:
                failures += 1
                extra = {"object": prefix.name, "error": str(error)}
                log.warning("the gateway does not answer: rules stay as they are", extra=extra)
                await self._clock.sleep(RETRY.delay_seconds(failures, self._rng.random()))

    async def _list(self, prefix: Prefix, start: bytes, end: bytes) -> None:
        """Take everything in; what was read is not kept beside it."""
        answer = await self._client.range(start, end)
        prefix.replace(answer.items, answer.revision)
        self._wake.set()

    async def _watch(self, prefix: Prefix, start: bytes, end: bytes) -> None:
        """Take changes in; returns when the store's revision has gone backwards."""
        watch = self._client.watch(start, end, start_revision=prefix.revision + 1, progress=True)
        async with aclosing(watch) as batches:
            async for batch in batches:
                if batch.revision < prefix.revision:
                    log.warning("the store went back in time: listing again")
                    return
                if batch.events:
                    prefix.change(batch.events)
                    self._wake.set()

    async def _sync(self) -> None:
        """One transaction for all that has changed since the last one."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not all(prefix.revision for prefix in self.prefixes):
                continue
            changed, self._changed = self._changed, set()
            try:
                await self._apply({key: self._piece(key) for key in changed})
                failures = 0
            except (DataplaneError, OSError) as error:
                failures += 1
                self._changed |= changed
                self._whole = True
                self._wake.set()
                extra = {"object": _few(changed), "error": str(error)}
                log.error("the rules could not be changed", extra=extra)
            delay = RETRY.delay_seconds(failures) if failures else INTERVAL_SECONDS
            await self._clock.sleep(delay)

    async def _apply(self, pieces: dict[str, Piece]) -> None:
        if self._whole:
            await self._dataplane.reload(pieces)
            self._whole = False
            log.info("all rules are loaded", extra={"services": len(self.table.services)})
        elif pieces:
            await self._dataplane.apply(pieces)

    async def _check(self) -> None:
        """Repair the rules when somebody else has changed any."""
        while True:
            await self._clock.sleep(CHECK_SECONDS)
            try:
                intact = self._whole or await self._dataplane.is_intact()
            except (DataplaneError, OSError) as error:
                log.warning("the rules could not be checked", extra={"error": str(error)})
                continue
            if not intact:
                log.info("rules were changed by somebody else: loading ours again")
                self._whole = True
                self._wake.set()

    def _piece(self, key: str) -> Piece:
        return piece(self.table.ports(key), self.table.node)

    def _put_service(self, key: str, value: bytes) -> None:
        service = _decode(key, value, read_service)
        if service is None:
            self._drop_service(key)
        else:
            self._changed |= self.table.put_service(key, service)

    def _drop_service(self, key: str) -> None:
        self._changed |= self.table.remove_service(key)

    def _put_slice(self, key: str, value: bytes) -> None:
        made = _decode(key, value, read_slice)
        if made is None:
            self._drop_slice(key)
        else:
            self._changed |= self.table.put_slice(key, made)

    def _drop_slice(self, key: str) -> None:
        self._changed |= self.table.remove_slice(key)


def _decode(key: str, value: bytes, read: Callable[[bytes], T]) -> T | None:
    """An object, or None for what is none: one bad value must not stop the others."""
    try:
        return read(value)
    except msgspec.DecodeError as error:
        log.error("an object cannot be read", extra={"object": key, "error": str(error)})
        return None


def _few(names: Iterable[str]) -> str:
    """Names for a log record: some, and how many there are beside."""
    ordered = sorted(names)
    some = ", ".join(ordered[:5])
    return some if len(ordered) <= 5 else f"{some} and {len(ordered) - 5} more"
