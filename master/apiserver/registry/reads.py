"""Lists and watches: pages at one revision, resourceVersion rules, events that fit a filter.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from common.api import errors
from common.api.fields import Fields
from common.api.resource import Resource
from common.api.types import Int64
from master.apiserver.registry.filters import Filter, Turns, parse
from master.apiserver.registry.freshness import RESOURCE_TOO_LARGE, fresh, of_store, parse_revision
from master.apiserver.request.options import ListOptions, WatchOptions
from master.storage import store as storage
from master.storage.entry import CacheEvent, Entry, make_entry
from master.storage.keys import REGISTRY, InvalidKey, registry_prefix
from master.storage.store import KeyValue, Store
from master.storage.subscription import CacheStopped, Subscription, WatchEnded
from master.storage.watchcache import WatchCache

BOOKMARK_SECONDS = 30.0


class ListResult(NamedTuple):
    """A page of objects. `remaining` is None when it is not known."""

    entries: Sequence[Entry]
    revision: int
    continue_token: str
    remaining: int | None


class Event(NamedTuple):
    """A watch event; a BOOKMARK has no entry."""

    type: str
    revision: int
    entry: Entry | None
    initial_end: bool = False


EventBatches = AsyncGenerator[list[Event], None]


class EventReceiver(Protocol):
    """Takes events of a watch while nobody waits for them: see `master.storage.subscription`."""

    def take(self, events: Sequence[Event]) -> bool:
        """Take all of them, or nothing and return False; then the watch yields them."""

    def queued(self, events: Sequence[Event]) -> None:
        """They wait until the watch yields them, all that wait at once."""

    def cut_off(self) -> None:
        """The watch is over, and will say so when it is next asked."""


class _Token(msgspec.Struct):
    """What a continue token says: revision (-1: any) and the last key already sent."""

    rv: Int64
    start: str
    v: str = "wherry/v1"


class Reads:
    """Reads any resource from the watch cache, and from the store where history is asked for."""

    def __init__(
        self, store: Store, cache: WatchCache, fields_of: Callable[[Resource], Fields]
    ) -> None:
        """`fields_of` says what field selectors may name of a resource."""
        self._store = store
        self._cache = cache
        self._fields_of = fields_of

    def prefix(self, resource: Resource, namespace: str) -> str:
        """The prefix of a resource's keys; raises StatusError 400 for impossible namespaces."""
        try:
            return registry_prefix(resource.group_resource, namespace)
        except InvalidKey as error:
            raise errors.bad_request(f"invalid namespace: {error}") from error

    async def list(self, resource: Resource, namespace: str, options: ListOptions) -> ListResult:
        """A page of the objects that match."""
        offered = self._fields_of(resource)
        wanted = parse(offered, options.label_selector, options.field_selector)
        prefix = self.prefix(resource, namespace)
        if options.continue_token:
            if options.resource_version not in ("", "0"):
                text = "specifying resource version is not allowed when using continue"
                raise errors.bad_request(text)
            token = decode_token(options.continue_token, prefix)
            if token.rv > 0:
                return await self._page_at(prefix, wanted, options.limit, token.rv, token.start)
            return await self._page_now(prefix, wanted, options.limit, token.start)
        if options.resource_version_match == "Exact":
            revision = parse_revision(options.resource_version)
            return await self._page_at(prefix, wanted, options.limit, revision, "")
        await fresh(self._cache, options.resource_version)
        return await self._page_now(prefix, wanted, options.limit, "")

    async def _page_now(self, prefix: str, wanted: Filter, limit: int, start: str) -> ListResult:
        """A page of the present state, from the cache."""
        revision = self._cache.revision
        entries = self._cache.list(prefix)
        if start:
            entries = [entry for entry in entries if entry.key > start]
        entries = await _fitting(entries, wanted)
        if not limit or len(entries) <= limit:
            return ListResult(entries, revision, "", None)
        page = entries[:limit]
        remaining = len(entries) - limit if wanted.empty else None
        return ListResult(page, revision, encode_token(revision, page[-1].key, prefix), remaining)

    async def _page_at(
        self, prefix: str, wanted: Filter, limit: int, revision: int, start: str
    ) -> ListResult:
        """A page of the state at a revision, from the store's history."""
        entries: list[Entry] = []
        after = start
        while True:
            try:
                page = await self._store.list(
                    prefix, start_after=after, limit=limit or 0, revision=revision
                )
            except storage.Compacted as error:
                raise _expired(after, prefix) from error
            except storage.FutureRevision as error:
                raise errors.timeout(
                    f"Timeout: Too large resource version: {revision}", causes=[RESOURCE_TOO_LARGE]
                ) from error
            except storage.StoreError as error:
                raise errors.unavailable(f"etcd cannot be reached: {error}") from error
            entries += await _fitting(await _entries(page.items), wanted)
            if limit and (len(entries) > limit or (page.more and len(entries) == limit)):
                entries = entries[:limit]
                remaining = page.remaining if wanted.empty else None
                token = encode_token(revision, entries[-1].key, prefix)
                return ListResult(entries, revision, token, remaining)
            if not page.more:
                return ListResult(entries, revision, "", None)
            after = page.items[-1].key

    async def watch(
        self,
        resource: Resource,
        namespace: str,
        options: WatchOptions,
        *,
        receiver: EventReceiver | None = None,
    ) -> EventBatches:
        """Events that fit the filter, in order, and bookmarks when there are none for a while.

        What happens while the next events are waited for is offered to the receiver first.
        Ends when the master stops. Raises StatusError 410 when history is gone.
        """
        offered = self._fields_of(resource)
        wanted = parse(offered, options.label_selector, options.field_selector)
        prefix = self.prefix(resource, namespace)
        version = options.resource_version
        if options.begins_with_state:
            await fresh(self._cache, version)
            since = self._cache.revision
            yield [  # and nothing of this frame keeps them: what they show may change soon
                Event("ADDED", entry.revision, entry)
                for entry in await _fitting(self._cache.list(prefix), wanted)
            ]
            if options.send_initial_events and options.allow_bookmarks:
                yield [Event("BOOKMARK", since, None, initial_end=True)]
        else:
            since = parse_revision(version)
            await self._existed(since)
            self._subscribable(prefix, since)
            yield []
        try:
            fitting = _Fitting(wanted, receiver) if receiver else None
            with self._cache.watch(prefix, since, receiver=fitting) as subscription:
                while True:
                    yield await _next(subscription, wanted)
        except CacheStopped:
            return  # the reader goes on from where it is once there is a master again
        except WatchEnded as error:
            raise errors.expired(f"too old resource version: {since} ({error})") from error

    async def _existed(self, revision: int) -> None:
        """Raise StatusError 410 for a revision that the store is yet to come to: it was restored
        from a backup, and a watch would miss all that happens until then. 503 without a store."""
        if revision > self._cache.revision and revision > await of_store(self._cache):
            raise errors.expired(f"the store was restored: revision {revision} is yet to come")

    def _subscribable(self, prefix: str, since: int) -> None:
        """Raise StatusError 410 or 503 at once when a watch from `since` is not possible."""
        try:
            self._cache.watch(prefix, since).close()
        except CacheStopped as error:
            raise errors.stopping() from error
        except WatchEnded as error:
            raise errors.expired(f"too old resource version: {since} ({error})") from error


async def _next(subscription: Subscription, wanted: Filter) -> list[Event]:
    """The next events that fit; after a while without any, a bookmark."""
    events = await subscription.within(BOOKMARK_SECONDS)
    if not events:
        return [Event("BOOKMARK", subscription.revision, None)]
    made: list[Event] = []
    turns = Turns()
    for event in events:
        if (fitting := _fit(event, wanted)) is not None:
            made.append(fitting)
        await turns.spent(wanted.work(event.entry))
    return made


class _Fitting:
    """Offers a receiver the events that fit; of others nobody needs to know."""

    def __init__(self, wanted: Filter, receiver: EventReceiver) -> None:
        self._wanted = wanted
        self._receiver = receiver

    def cut_off(self) -> None:
        self._receiver.cut_off()

    def take(self, events: Sequence[CacheEvent]) -> bool:
        fitting = _fit_all(events, self._wanted)
        return not fitting or self._receiver.take(fitting)

    def queued(self, events: Sequence[CacheEvent]) -> None:
        self._receiver.queued(_fit_all(events, self._wanted))


async def _fitting(entries: Sequence[Entry], wanted: Filter) -> Sequence[Entry]:
    """Those that fit; others have their turns meanwhile."""
    if wanted.empty:
        return entries
    fitting, turns = [], Turns()
    for entry in entries:
        if wanted.matches(entry):
            fitting.append(entry)
        await turns.spent(wanted.work(entry))
    return fitting


async def _entries(items: Sequence[KeyValue]) -> list[Entry]:
    """What the store has kept, read as the cache reads it."""
    entries, turns = [], Turns()
    for item in items:
        entries.append(make_entry(item, item.key.removeprefix(REGISTRY).split("/")[1:]))
        await turns.spent(len(item.value))
    return entries


def _fit_all(events: Sequence[CacheEvent], wanted: Filter) -> list[Event]:
    return [made for event in events if (made := _fit(event, wanted)) is not None]


def _fit(event: CacheEvent, wanted: Filter) -> Event | None:
    """The event as a filtered watch sees it: starting to match is ADDED, ceasing is DELETED, with
    the last state that matched."""
    revision, entry = event.entry.revision, event.entry
    if wanted.empty:
        return Event(event.type, revision, entry)
    now = event.type != "DELETED" and wanted.matches(entry)
    before = event.previous if event.previous and wanted.matches(event.previous) else None
    if now:
        return Event("MODIFIED" if before else "ADDED", revision, entry)
    if before is None:
        return None
    last = entry if event.type == "DELETED" else before.deleted_at(revision)
    return Event("DELETED", revision, last)


def encode_token(revision: int, start: str, prefix: str) -> str:
    """The token that continues a list behind key `start`."""
    token = _Token(rv=revision, start=start[len(prefix) :])
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode_token(text: str, prefix: str) -> _Token:
    """The reverse of encode_token; the key is below `prefix` whatever the token says."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        token = msgspec.json.decode(data, type=_Token)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error
    known = token.v == "wherry/v1" and (token.rv == -1 or token.rv > 0)
    if not known or "\0" in token.start or ".." in token.start.split("/"):
        raise errors.bad_request("continue key is not valid: unexpected content")
    return _Token(rv=token.rv, start=prefix + token.start)


def _expired(start: str, prefix: str) -> errors.StatusError:
    """410 with a token by which the client may go on without consistency."""
    error = errors.expired(
        "The provided continue parameter is too old to display a consistent list result. You can "
        "start a new list without the continue parameter, or use the continue token in this "
        "response to retrieve the remainder of the results. Continuing with the provided token "
        "results in an inconsistent list - objects that were created, modified, or deleted "
        "between the time the first chunk was returned and now may show up in the list."
    )
    error.metadata = {"continue": encode_token(-1, start, prefix)} if start else {}
    return error
