"""A read-only part of etcd's API for nodes: Range and Watch on services and their endpoints.

kube-proxy is a plain etcd watcher, and yet no node holds a credential to etcd: what it asks is
answered from the watch cache. Keys and values are those of the store. Everything else of etcd's
API is refused. Source: https://etcd.io/docs/v3.5/learning/api/.

The service name and the messages are etcd's, so that any etcd v3 client can be the reader.
`version` of a key is not kept and 0; leases are not shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from aetcd.rpc import kv_pb2, rpc_pb2

from common.runtime.clock import Clock
from common.security.ca import CertificateError
from common.security.identity import Identity, identity_from_pem
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizer import Authorizer, denied
from master.storage.entry import CacheEvent, Entry
from master.storage.keys import registry_prefix
from master.storage.store import StoreError
from master.storage.subscription import CacheStopped, Subscription, TooOld, WatchEnded
from master.storage.watchcache import NotYet, WatchCache

log = logging.getLogger(__name__)
PACKAGE = "/etcdserverpb."
RESOURCES = (("", "services"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices"))
"""(group, plural) of what is shown here."""
PREFIXES = tuple(
    registry_prefix(f"{plural}.{group}" if group else plural) for group, plural in RESOURCES
)
PROGRESS_SECONDS = 10.0
FRESH_SECONDS = 5.0
GUARD_SECONDS = 2.0
"""A reader who is not trusted any more is noticed within so long."""
WATCHES_MAX = 32
"""Watches of one stream; a proxy has three."""
EVENTS_MAX = 500
"""Events of one message; a revision is never split."""
COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE = "etcdserver: mvcc: required revision is a future revision"
REFUSED = "this is a read-only gateway to services and endpoints"


class Gateway(grpc.GenericRpcHandler):
    """Serves etcd's Range and Watch to holders of a node's certificate."""

    def __init__(
        self,
        cache: WatchCache,
        authorizer: Authorizer,
        problem: Callable[[Identity], str],
        *,
        clock: Clock,
    ) -> None:
        """`problem` says why somebody with a certificate is not to be trusted, '' otherwise."""
        self._cache = cache
        self._authorizer = authorizer
        self._problem = problem
        self._clock = clock
        self._handlers = {
            f"{PACKAGE}KV/Range": grpc.unary_unary_rpc_method_handler(
                self._range,
                request_deserializer=rpc_pb2.RangeRequest.FromString,
                response_serializer=rpc_pb2.RangeResponse.SerializeToString,
            ),
            f"{PACKAGE}Watch/Watch": grpc.stream_stream_rpc_method_handler(
                self._watch,
                request_deserializer=rpc_pb2.WatchRequest.FromString,
                response_serializer=rpc_pb2.WatchResponse.SerializeToString,
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call; None for calls that are not etcd's."""
        method = handler_call_details.method
        if not method.startswith(PACKAGE):
            return None
        return self._handlers.get(method) or grpc.stream_stream_rpc_method_handler(_refuse(method))

    async def _range(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The keys of a range as of now. A former revision is as good as compacted."""
        await self._authorize(context)
        problem = _range_problem(request)
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{REFUSED}: {problem}")
        prefix = await _permitted(request.key, request.range_end, context)
        await self._wait_until_fresh(context)
        revision = self._cache.revision
        if request.revision > revision:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, FUTURE)
        if 0 < request.revision < revision:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, COMPACTED)
        return _range_response(request, self._entries(prefix, request), revision)

    def _entries(self, prefix: str, request: Any) -> list[Entry]:
        """The entries of a range in key order."""
        covers = _cover(request.key, request.range_end)
        return [entry for entry in self._cache.list(prefix) if covers(entry.key.encode())]

    async def _wait_until_fresh(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Wait until the cache has seen everything that was written before this call."""
        try:
            revision = await self._cache.consistent_revision()
            await self._cache.wait_for(revision, FRESH_SECONDS)
        except (NotYet, StoreError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"etcd cannot be reached: {error}")

    async def _watch(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Several watches on one stream, as etcd has it."""
        stream = _WatchStream(self._cache, context, self._clock)
        guard: asyncio.Task[None] | None = None
        try:
            async for request in requests:
                identity = await self._authorize(context)
                if guard is None:
                    guard = asyncio.create_task(self._guard(identity, stream))
                await stream.take(request)
        finally:
            if guard is not None:
                guard.cancel()
            await stream.close()

    async def _guard(self, identity: Identity, stream: _WatchStream) -> None:
        """End the watches of a reader who is not trusted any more."""
        while not self._problem(identity):
            await self._clock.sleep(GUARD_SECONDS)
        await stream.refuse(self._problem(identity))

    async def _authorize(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """The caller; aborts the call of anybody who may not read here, or not yet."""
        identity = await _caller(context)
        if problem := self._problem(identity):
            await context.abort(grpc.StatusCode.UNAVAILABLE, problem)
        for group, plural in RESOURCES:
            wanted = Attributes("watch", group, plural)
            if not self._authorizer.decide(identity, wanted).allowed:
                error = denied(identity, wanted)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, error.message)
        return identity


@dataclass(slots=True)
class _WatchStream:
    """The watches of one stream."""

    cache: WatchCache
    context: grpc.aio.ServicerContext[Any, Any]
    clock: Clock
    watches: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_id: int = 0

    async def take(self, request: Any) -> None:
        """One request of the client."""
        match request.WhichOneof("request_union"):
            case "create_request":
                await self._create(request.create_request)
            case "cancel_request":
                await self._cancel(request.cancel_request.watch_id)
            case "progress_request":
                await self._write(_header(self.cache.revision, watch_id=-1))

    async def refuse(self, why: str) -> None:
        """End every watch, and say why."""
        watch_ids = list(self.watches)
        await self.close()
        self.watches.clear()
        for watch_id in watch_ids:
            await self._write(_cancelled(self.cache.revision, watch_id, why))

    async def close(self) -> None:
        """End every watch."""
        for task in self.watches.values():
            task.cancel()
        await asyncio.gather(*self.watches.values(), return_exceptions=True)

    async def _create(self, request: Any) -> None:
        watch_id = request.watch_id or self._free_id()
        prefix = _prefix_of(request.key, request.range_end)
        now = self.cache.revision
        if prefix is None or watch_id in self.watches or len(self.watches) >= WATCHES_MAX:
            why = REFUSED if prefix is None else "etcdserver: duplicate watch ID, or too many"
            await self._write(_cancelled(now, watch_id, why, created=True))
            return
        since = request.start_revision - 1 if request.start_revision > 0 else now
        await self._write(_header(now, watch_id=watch_id, created=True))
        try:
            subscription = self.cache.watch(prefix, since)
        except TooOld:
            await self._write(_compacted(now, watch_id))
            return
        task = asyncio.create_task(self._follow(watch_id, request, subscription))
        self.watches[watch_id] = task

    def _free_id(self) -> int:
        """As etcd chooses one for a reader who leaves it to the server."""
        while self.next_id in self.watches:
            self.next_id += 1
        self.next_id += 1
        return self.next_id - 1

    async def _cancel(self, watch_id: int) -> None:
        task = self.watches.pop(watch_id, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._write(_cancelled(self.cache.revision, watch_id, ""))

    async def _follow(self, watch_id: int, request: Any, subscription: Subscription) -> None:
        """Send what happens until the reader goes or is too slow; then it lists anew."""
        wanted = _Wanted(request)
        progress = None
        if request.progress_notify:
            progress = asyncio.create_task(self._tell_progress(watch_id, subscription))
        try:
            with subscription:
                async for batch in subscription:
                    for events in _messages(batch, wanted):
                        response = _header(subscription.revision, watch_id=watch_id)
                        response.events.extend(events)
                        await self._write(response)
        except CacheStopped:
            pass  # the call is cut off next, and the reader goes on from its revision later
        except WatchEnded as error:
            log.info("a watch of the gateway ended", extra={"cause": str(error)})
            self.watches.pop(watch_id, None)
            await self._write(_compacted(self.cache.revision, watch_id))
        finally:
            if progress is not None:
                progress.cancel()

    async def _tell_progress(self, watch_id: int, subscription: Subscription) -> None:
        """Say now and then that nothing was missed."""
        while True:
            await self.clock.sleep(PROGRESS_SECONDS)
            await self._write(_header(subscription.revision, watch_id=watch_id))

    async def _write(self, response: Any) -> None:
        """Messages of several watches share one stream; the client may be gone meanwhile."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.UsageError):
            async with self.writing:
                await self.context.write(response)


class _Wanted:
    """Which events a watch asks for, and in which form."""

    def __init__(self, request: Any) -> None:
        self._covers = _cover(request.key, request.range_end)
        self._previous = request.prev_kv
        names = rpc_pb2.WatchCreateRequest
        self._puts = names.NOPUT not in request.filters
        self._deletions = names.NODELETE not in request.filters

    def event(self, event: CacheEvent) -> Any:
        """etcd's form of an event, or None when it is not wanted."""
        deleted, key = event.type == "DELETED", event.entry.key.encode()
        if not self._covers(key) or not (self._deletions if deleted else self._puts):
            return None
        if deleted:
            item = kv_pb2.KeyValue(key=key, mod_revision=event.entry.revision)
        else:
            item = _key_value(event.entry)
        made = kv_pb2.Event(type=kv_pb2.Event.DELETE if deleted else kv_pb2.Event.PUT, kv=item)
        if self._previous and event.previous is not None:
            made.prev_kv.CopyFrom(_key_value(event.previous))
        return made


def _messages(batch: Sequence[CacheEvent], wanted: _Wanted) -> list[list[Any]]:
    """The wanted events in messages of a bounded size."""
    messages: list[list[Any]] = [[]]
    last = 0
    for event in batch:
        made = wanted.event(event)
        if made is None:
            continue
        if len(messages[-1]) >= EVENTS_MAX and event.entry.revision != last:
            messages.append([])
        messages[-1].append(made)
        last = event.entry.revision
    return [events for events in messages if events]


def _refuse(method: str) -> Callable[[Any, Any], Any]:
    """What answers every other method of etcd."""

    async def refuse(
        requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await anext(requests, None)
        await _caller(context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{REFUSED}: {method} is not served")

    return refuse


async def _caller(context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
    """Who calls; aborts the call of those who show no certificate.

    A stream's caller is asked when a message is there: grpc.aio's clients take a refusal that
    meets a message on its way for an internal error.
    """
    [pem] = context.auth_context().get("x509_pem_cert") or [b""]
    try:
        identity = identity_from_pem(pem)
    except CertificateError as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    return identity


def _prefix_of(key: bytes, range_end: bytes) -> str | None:
    """The permitted prefix that a range lies in, or None."""
    for prefix in PREFIXES:
        start = prefix.encode()
        end = start[:-1] + b"0"  # "0" follows "/"
        within = key.startswith(start) and (not range_end or key < range_end <= end)
        if within:
            return prefix
    return None


async def _permitted(
    key: bytes, range_end: bytes, context: grpc.aio.ServicerContext[Any, Any]
) -> str:
    """The prefix of a range; aborts the call when the range is not within a permitted one."""
    prefix = _prefix_of(key, range_end)
    if prefix is None:
        text = f"{REFUSED}: only {', '.join(PREFIXES)}"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        raise AssertionError("abort raises")
    return prefix


def _cover(key: bytes, range_end: bytes) -> Callable[[bytes], bool]:
    """Whether a key is in a range."""
    if not range_end:
        return lambda one: one == key
    return lambda one: key <= one < range_end


def _range_problem(request: Any) -> str:
    """What of a range request is not served."""
    if request.sort_order != rpc_pb2.RangeRequest.NONE and (
        request.sort_target != rpc_pb2.RangeRequest.KEY
        or request.sort_order != rpc_pb2.RangeRequest.ASCEND
    ):
        return "keys are in ascending order only"
    for name in ("min_mod_revision", "max_mod_revision", "min_create_revision"):
        if getattr(request, name):
            return f"{name} is not served"
    return "max_create_revision is not served" if request.max_create_revision else ""


def _range_response(request: Any, entries: Sequence[Entry], revision: int) -> Any:
    limit = request.limit if request.limit > 0 else len(entries)
    items = [] if request.count_only else [_key_value(entry) for entry in entries[:limit]]
    if request.keys_only:
        for item in items:
            item.ClearField("value")
    return rpc_pb2.RangeResponse(
        header=rpc_pb2.ResponseHeader(revision=revision),
        kvs=items,
        more=len(entries) > limit and not request.count_only,
        count=len(entries),
    )


def _key_value(entry: Entry) -> Any:
    """An entry as etcd has it: the stored bytes, which have no resourceVersion."""
    value = entry.data.replace(b'"resourceVersion":"%d",' % entry.revision, b"", 1)
    return kv_pb2.KeyValue(
        key=entry.key.encode(),
        value=value,
        create_revision=entry.create_revision,
        mod_revision=entry.revision,
    )


def _header(revision: int, *, watch_id: int, created: bool = False) -> Any:
    return rpc_pb2.WatchResponse(
        header=rpc_pb2.ResponseHeader(revision=revision), watch_id=watch_id, created=created
    )


def _cancelled(revision: int, watch_id: int, reason: str, *, created: bool = False) -> Any:
    made = _header(revision, watch_id=watch_id, created=created)
    made.canceled, made.cancel_reason = True, reason
    return made


def _compacted(revision: int, watch_id: int) -> Any:
    """The reader has to list again and go on from there."""
    made = _cancelled(revision, watch_id, COMPACTED)
    made.compact_revision = revision
    return made
