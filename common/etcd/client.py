"""An asyncio etcd client: mutual TLS, transactions with their revision, a watch that resumes."""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from common.etcd import wire
from common.etcd.errors import Compacted, EtcdError, LeaseNotFound, Unavailable, translate
from common.etcd.types import (
    Compare,
    Event,
    Operation,
    RangeResult,
    Status,
    Tls,
    TxnResult,
    WatchBatch,
)
from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from common.runtime.rng import Rng

log = logging.getLogger(__name__)

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Channels of one process do not share connections: closing one must not touch another.
    ("grpc.use_local_subchannel_pool", 1),
)

_REQUIRE_LEADER = (("hasleader", "true"),)
"""Asks a member that has lost its leader to end the watch instead of staying silent."""

_WATCH_BACKOFF = Backoff(initial_seconds=0.05, cap_seconds=2.0, jitter=0.5)


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix` (whose last byte is not 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EtcdClient:
    """One channel to an etcd cluster. Every method raises errors of `common.etcd.errors` only."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: Tls,
        *,
        clock: Clock,
        rng: Rng,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._timeout_seconds = timeout_seconds
        self._closed = False
        credentials = grpc.ssl_channel_credentials(tls.ca_pem, tls.key_pem, tls.certificate_pem)
        options = (*_CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
        self._channel = grpc.aio.secure_channel(_target(endpoints), credentials, options)
        self._stubs = wire.Stubs(self._channel)

    async def close(self) -> None:
        """Close the channel; calls and watches under way end with Unavailable."""
        self._closed = True
        await self._channel.close()

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        count_only: bool = False,
    ) -> RangeResult:
        """The keys in [key, range_end), or `key` alone; linearizable at revision 0."""
        request = wire.range_request(
            key, range_end, limit=limit, revision=revision, count_only=count_only
        )
        return wire.range_result(await self._call(self._stubs.kv.Range, request))

    async def txn(
        self,
        compare: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
    ) -> TxnResult:
        """Compare and then write or read, in one step."""
        request = wire.txn_request(compare, success, failure)
        return wire.txn_result(await self._call(self._stubs.kv.Txn, request, write=True))

    async def compact(self, revision: int) -> None:
        """Forget everything that was superseded before `revision`. Raises Compacted if done."""
        await self._call(self._stubs.kv.Compact, wire.compact_request(revision))

    async def lease_grant(self, ttl_seconds: int) -> int:
        """A new lease's id. etcd may give it more time than asked for, never less."""
        request = wire.grant_request(ttl_seconds)
        response = await self._call(self._stubs.lease.LeaseGrant, request)
        return int(response.ID)

    async def lease_revoke(self, lease: int) -> None:
        """End a lease; its keys are deleted. Raises LeaseNotFound."""
        await self._call(self._stubs.lease.LeaseRevoke, wire.revoke_request(lease), write=True)

    async def lease_keepalive(self, lease: int) -> int:
        """Refresh a lease and return its seconds to live. Raises LeaseNotFound."""
        method = self._stubs.lease.LeaseKeepAlive
        request = wire.keepalive_request(lease)
        async with self._stream(method, request, timeout=self._timeout_seconds) as call:
            await call.done_writing()
            response = await call.read()
        if response is grpc.aio.EOF:
            raise Unavailable("the stream ended without an answer")
        if response.TTL <= 0:
            raise LeaseNotFound(f"lease {lease:x} not found")
        return int(response.TTL)

    async def status(self) -> Status:
        """The member that answers. It is ready to serve when `leader_id` is not 0."""
        return wire.status(await self._call(self._stubs.maintenance.Status, wire.status_request()))

    async def watch(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        start_revision: int,
        previous: bool = False,
        progress: bool = False,
    ) -> AsyncGenerator[WatchBatch, None]:
        """All changes from `start_revision` (at least 1) on, each once, in order.

        Goes on by itself after a loss of the connection: from behind the last event that was
        handed out, and from nothing else, because some etcd versions announce progress that
        they have not made. With `progress`, batches without events show that etcd is alive.
        Ends by an error only: Compacted, Refused, EtcdError when etcd cancels it, and
        Unavailable when this client is closed.
        """
        next_revision, failures = start_revision, 0
        while True:
            request = wire.watch_request(
                key, range_end, start_revision=next_revision, previous=previous, progress=progress
            )
            try:
                async with aclosing(self._watch_once(request)) as batches:
                    async for batch in batches:
                        failures = 0
                        if batch.events:
                            next_revision = batch.events[-1].item.mod_revision + 1
                        elif not progress:
                            continue
                        yield batch
            except Unavailable as error:
                if self._closed:
                    raise
                cause = {"revision": next_revision, "cause": str(error)}
                log.info("a watch has ended, and is tried again", extra=cause)
            failures += 1
            await self._clock.sleep(_WATCH_BACKOFF.delay_seconds(failures, self._rng.random()))

    async def _watch_once(self, request: Any) -> AsyncGenerator[WatchBatch, None]:
        """One watch stream until it breaks."""
        fragments: list[Event] = []
        async with self._stream(self._stubs.watch.Watch, request, metadata=_REQUIRE_LEADER) as call:
            while (response := await call.read()) is not grpc.aio.EOF:
                if response.canceled:
                    raise _cancelled(response)
                fragments += wire.events(response.events)
                if not response.fragment and not response.created:
                    yield WatchBatch(tuple(fragments), response.header.revision)
                    fragments = []

    @asynccontextmanager
    async def _stream(self, method: Any, request: Any, **options: Any) -> AsyncIterator[Any]:
        """A call on which `request` has been sent; what goes wrong in it is an error of ours."""
        try:
            call = method(**options)
        except grpc.aio.UsageError as error:
            raise Unavailable("the client is closed") from error
        try:
            await self._first_write(call, request)
            yield call
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise await _stream_error(call) from error
        except asyncio.CancelledError as error:
            self._raise_if_closed(error)
            raise
        finally:
            call.cancel()

    async def _first_write(self, call: Any, request: Any) -> None:
        """Send the first message; gRPC never wakes a write whose call is cancelled as it opens."""
        writing = asyncio.ensure_future(call.write(request))

        def end(_: Any) -> None:
            if self._closed:
                writing.cancel()

        call.add_done_callback(end)
        await writing

    async def _call(self, method: Any, request: Any, *, write: bool = False) -> Any:
        try:
            return await method(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "", write=write) from error
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise Unavailable("the client is closed") from error
        except asyncio.CancelledError as error:
            self._raise_if_closed(error, write=write)
            raise

    def _raise_if_closed(self, error: asyncio.CancelledError, *, write: bool = False) -> None:
        """gRPC cancels the calls of a closed channel: their callers were not cancelled."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            code = grpc.StatusCode.CANCELLED
            raise translate(code, "the client is closed", write=write) from error


def _target(endpoints: Sequence[str]) -> str:
    """gRPC's name for all endpoints, which are tried in turn. Several must be IP addresses."""
    if len(endpoints) == 1:
        return endpoints[0]
    versions = {
        ipaddress.ip_address(one.rpartition(":")[0].strip("[]")).version for one in endpoints
    }
    if len(versions) != 1:
        raise ValueError("several etcd endpoints must be IPv4 addresses only, or IPv6 only")
    return f"ipv{versions.pop()}:{','.join(endpoints)}"


def _cancelled(response: Any) -> EtcdError:
    if response.compact_revision:
        return Compacted(response.compact_revision)
    return translate(grpc.StatusCode.FAILED_PRECONDITION, response.cancel_reason, write=False)


async def _stream_error(call: Any) -> EtcdError:
    """What ended a stream."""
    if not call.done():
        return Unavailable("the client is closed")
    return translate(await call.code(), await call.details() or "", write=False)
