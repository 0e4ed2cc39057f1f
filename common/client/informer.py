"""Informers keep a local copy of a resource; listers answer questions about it.

No Struct outlives the call that decoded it: a lister holds bytes and, beside them, the few members
that lookups need. Whoever needs more decodes an item's bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from common.api import labels
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.labels import Selector
from common.api.resource import Resource
from common.client.api import ApiClient, WatchEvent
from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from common.runtime.rng import Rng, SystemRng

log = logging.getLogger(__name__)
T = TypeVar("T", bound=msgspec.Struct)
RETRY = Backoff(initial_seconds=0.2, cap_seconds=10.0, jitter=0.5)


class Owner(msgspec.Struct, gc=False):
    """The members of an owner reference that lookups need."""

    uid: str = ""
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Metadata(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = "0"
    generation: int = 0
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None
    ownerReferences: tuple[Owner, ...] = ()


class _Spec(msgspec.Struct, gc=False):
    nodeName: str = ""


class _Status(msgspec.Struct, gc=False):
    phase: str = ""


class _Partial(msgspec.Struct, gc=False):
    metadata: _Metadata
    spec: _Spec | None = None
    status: _Status | None = None


_decoder = msgspec.json.Decoder(_Partial)
_NO_LABELS: dict[str, str] = {}


class Item(msgspec.Struct, frozen=True, gc=False):
    """An object of a lister: its bytes, and what lookups need of them."""

    namespace: str
    name: str
    uid: str
    revision: int
    labels: Mapping[str, str]
    owners: tuple[Owner, ...]
    deleting: bool
    node: str
    phase: str
    data: bytes
    generation: int = 0

    @property
    def key(self) -> str:
        """`namespace/name`, or just the name for cluster-scoped objects."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def pin(self) -> dict[str, str]:
        """The metadata of a patch that is meant for this state of the object and no later one."""
        return {"uid": self.uid, "resourceVersion": str(self.revision)}

    @property
    def controller(self) -> Owner | None:
        """The owner that manages this object, or None."""
        return next((owner for owner in self.owners if owner.controller), None)

    def decode(self, cls: type[T]) -> T:
        """A new Struct of the object; the caller may change it."""
        return codec.decode(self.data, cls)


def item(data: bytes) -> Item:
    """Read the members of an object that lookups need."""
    partial = _decoder.decode(data)
    meta = partial.metadata
    return Item(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        revision=int(meta.resourceVersion),
        labels=meta.labels or _NO_LABELS,
        owners=meta.ownerReferences,
        deleting=meta.deletionTimestamp is not None,
        node=partial.spec.nodeName if partial.spec else "",
        phase=partial.status.phase if partial.status else "",
        data=data,
        generation=meta.generation,
    )


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of an item's key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


Change = tuple[Item | None, Item | None]
"""(what was there, what is there now)."""

Items = list[Item]
Changes = list[Change]


class Lister:
    """The local copy of one resource. Reconciles read it; only its informer writes it."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.revision = 0
        self._items: dict[str, Item] = {}
        self._namespaces: dict[str, dict[str, Item]] = defaultdict(dict)
        self._owned: dict[str, dict[str, Item]] = defaultdict(dict)
        self._uids: dict[str, Item] = {}

    def get(self, namespace: str, name: str) -> Item | None:
        """The object of that name, or None."""
        return self._items.get(f"{namespace}/{name}" if namespace else name)

    def by_key(self, key: str) -> Item | None:
        """The object with that `namespace/name`, or None."""
        return self._items.get(key)

    def by_uid(self, uid: str) -> Item | None:
        """The object with that uid, or None."""
        return self._uids.get(uid)

    def list(self, namespace: str = "", selector: Selector = labels.EVERYTHING) -> Items:
        """Objects of a namespace (all when empty) whose labels match, by key."""
        items = self._namespaces.get(namespace, {}) if namespace else self._items
        if not selector.requirements:
            return [items[key] for key in sorted(items)]
        return [items[key] for key in sorted(items) if selector.matches(items[key].labels)]

    def owned_by(self, uid: str) -> Items:
        """Objects that name `uid` among their owners, by key."""
        items = self._owned.get(uid, {})
        return [items[key] for key in sorted(items)]

    def put(self, new: Item) -> Item | None:
        """Add or replace an object; answers what was there before."""
        old = self._items.get(new.key)
        if old is not None:
            self._unlink(old)
        self._items[new.key] = self._uids[new.uid] = new
        self._namespaces[new.namespace][new.key] = new
        for owner in new.owners:
            self._owned[owner.uid][new.key] = new
        return old

    def remove(self, key: str) -> Item | None:
        """Forget an object; answers what was there."""
        old = self._items.pop(key, None)
        if old is not None:
            self._unlink(old)
        return old

    def replace(self, items: Iterable[Item], revision: int) -> Changes:
        """Take a whole new list; answers the differences as (old, new) pairs."""
        fresh = {new.key: new for new in items}
        gone = [key for key in self._items if key not in fresh]
        changes: Changes = [(self.remove(k), None) for k in gone]
        for new in fresh.values():
            old = self._items.get(new.key)
            if old is None or old.revision != new.revision:
                changes.append((self.put(new), new))
        self.revision = max(self.revision, revision)
        return changes

    def _unlink(self, old: Item) -> None:
        """Take an object out of the indexes, and drop indexes that are empty."""
        self._uids.pop(old.uid, None)
        for index, name in [(self._namespaces, old.namespace)] + [
            (self._owned, owner.uid) for owner in old.owners
        ]:
            members = index.get(name)
            if members is not None:
                members.pop(old.key, None)
                if not members:
                    del index[name]


Handler = Callable[[Resource, Item | None, Item | None], None]
"""Called with (resource, old, new) after the lister has changed; must not block."""


class Informer:
    """Keeps a Lister true: lists, then watches; lists again when the watch has lost history."""

    def __init__(
        self, client: ApiClient, resource: Resource, *, clock: Clock, rng: Rng | None = None
    ) -> None:
        """Retries are spread by the machine's random numbers, or by those of `rng`."""
        self.lister = Lister(resource)
        self.synced = asyncio.Event()
        self._client = client
        self._clock, self._rng = clock, rng or SystemRng()
        self._handlers: list[Handler] = []
        self._moved = asyncio.Event()

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` for every later change; add handlers before `run`."""
        self._handlers.append(handler)

    async def wait_for(self, revision: int) -> None:
        """Return once the lister includes everything up to `revision`."""
        while self.lister.revision < revision:
            self._moved.clear()
            await self._moved.wait()

    async def run(self) -> None:
        """Keep the lister true until cancelled."""
        failures = 0
        while True:
            try:
                await self._list()
                failures = 0
                await self._watch()
            except StatusError as error:
                if error.code == 410:
                    continue
                plural = self.lister.resource.plural
                log.warning("list or watch failed", extra={"object": plural, "error": str(error)})
                failures += 1
                await self._clock.sleep(RETRY.delay_seconds(failures, self._rng.random()))

    async def _list(self) -> None:
        resource = self.lister.resource
        page = await self._client.list(resource, resource_version="0")
        readable = (new for data in page.items if (new := self._read(data)) is not None)
        changes = self.lister.replace(readable, page.revision)
        self._moved.set()
        for old, new in changes:
            self._tell(old, new)
        self.synced.set()

    async def _watch(self) -> None:
        resource = self.lister.resource
        since = str(self.lister.revision)
        async for events in self._client.watch(resource, resource_version=since):
            for event in events:
                self._take(event)
            self._moved.set()

    def _take(self, event: WatchEvent) -> None:
        # Revisions are the whole store's: a bookmark says that nothing of this resource is missing.
        self.lister.revision = max(self.lister.revision, event.revision)
        if event.type == "BOOKMARK":
            return
        new = self._read(event.data)
        if new is None:
            return
        if event.type == "DELETED":
            self._tell(self.lister.remove(new.key), None)
        else:
            self._tell(self.lister.put(new), new)

    def _read(self, data: bytes) -> Item | None:
        """An object's item; one that cannot be read must not keep its reader from the others."""
        try:
            return item(data)
        except (msgspec.DecodeError, ValueError):
            extra = {"object": self.lister.resource.plural, "data": repr(data[:200])}
            log.exception("an object cannot be read", extra=extra)
            return None

    def _tell(self, old: Item | None, new: Item | None) -> None:
        for handler in self._handlers:
            try:
                handler(self.lister.resource, old, new)
            except Exception:  # one object must not keep its reader from all the others
                log.exception("a handler failed", extra={"object": getattr(new or old, "key", "")})
