"""An asyncio etcd client: TLS, transactions with their revision, a watch that resumes, fail-over.

With several endpoints the member in use is asked through its quorum every second. One that does
not answer is left for one that does: what it was asked to read is read there, its watches go on
there, and of what it was asked to write the outcome is not known.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from common.etcd import wire
from common.etcd.connection import Connection, Method
from common.etcd.errors import Busy, Compacted, EtcdError, LeaseNotFound, Unavailable, translate
from common.etcd.members import Answer, Members
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

_REQUIRE_LEADER = (("hasleader", "true"),)
"""Asks a member that has lost its leader to end the watch instead of staying silent."""

_WATCH_BACKOFF = Backoff(initial_seconds=0.05, cap_seconds=2.0, jitter=0.5)

ASK_SECONDS = 1.0
"""Between two questions to the member in use, where there are others."""
ANSWER_SECONDS = 2.0
"""For an answer. A leader is elected in that time, so that a member is not left for it."""


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all keys that begin with `prefix` (whose last byte is not 0xff)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class EtcdClient:
    """An etcd cluster. Every method raises errors of `common.etcd.errors` only."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: Tls | None,
        *,
        clock: Clock,
        rng: Rng,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._tls = tls
        self._clock = clock
        self._rng = rng
        self._timeout_seconds = timeout_seconds
        self._closed = False
        self._members = Members(len(self._endpoints))
        self._connection = self._connect(0)
        self._check: asyncio.Task[None] | None = None
        self._watchman: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the channel; calls and watches under way end with Unavailable."""
        self._closed = True
        tasks = [task for task in (self._watchman, self._check) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.close()

    async def renew(self, tls: Tls) -> None:
        """Show another certificate from now on, and trust other authorities.

        Calls under way end where they began, and watches go on from where they are. Returns when
        nothing is left of the former connection.
        """
        self._tls = tls
        former, self._connection = self._connection, self._connect(self._members.current)
        try:
            await self._clock.sleep(self._timeout_seconds)
        finally:
            await former.close()

    @property
    def endpoint(self) -> str:
        """The one in use."""
        return self._connection.target

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
        return wire.range_result(await self._call(lambda stubs: stubs.kv.Range, request))

    async def txn(
        self,
        compare: Iterable[Compare],
        success: Iterable[Operation],
        failure: Iterable[Operation] = (),
    ) -> TxnResult:
        """Compare and then write or read, in one step."""
        request = wire.txn_request(compare, success, failure)
        return wire.txn_result(await self._call(lambda stubs: stubs.kv.Txn, request, write=True))

    async def compact(self, revision: int, *, physical: bool = False) -> None:
        """Forget everything that was superseded before `revision`. Raises Compacted if done.

        With `physical`, the member that answers has done it when it does.
        """
        request = wire.compact_request(revision, physical=physical)
        await self._call(lambda stubs: stubs.kv.Compact, request)

    async def lease_grant(self, ttl_seconds: int) -> int:
        """A new lease's id. etcd may give it more time than asked for, never less."""
        request = wire.grant_request(ttl_seconds)
        response = await self._call(lambda stubs: stubs.lease.LeaseGrant, request)
        return int(response.ID)

    async def lease_revoke(self, lease: int) -> None:
        """End a lease; its keys are deleted. Raises LeaseNotFound."""
        request = wire.revoke_request(lease)
        await self._call(lambda stubs: stubs.lease.LeaseRevoke, request, write=True)

    async def lease_keepalive(self, lease: int) -> int:
        """Refresh a lease and return its seconds to live. Raises LeaseNotFound."""
        request = wire.keepalive_request(lease)
        connection = self._in_use()
        seconds = self._timeout_seconds
        try:
            async with connection.stream(
                lambda stubs: stubs.lease.LeaseKeepAlive, request, timeout=seconds
            ) as call:
                await call.done_writing()
                response = await call.read()
        except Unavailable:
            await self._is_left(connection)
            raise
        if response is grpc.aio.EOF:
            raise Unavailable("the stream ended without an answer")
        if response.TTL <= 0:
            raise LeaseNotFound(f"lease {lease:x} not found")
        return int(response.TTL)

    async def status(self) -> Status:
        """The member that answers. It is ready to serve when `leader_id` is not 0."""
        request = wire.status_request()
        return wire.status(await self._call(lambda stubs: stubs.maintenance.Status, request))

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

        Goes on by itself after a loss of the connection, also at another member: from behind the
        last event that was handed out, and from nothing else, because some etcd versions announce
        progress that they have not made. With `progress`, batches without events show that etcd
        is alive. Ends by an error only: Compacted, also by an etcd that was restored to a revision
        before those; Refused; EtcdError when etcd cancels it; Unavailable when this client is
        closed.
        """
        next_revision, failures = start_revision, 0
        while True:
            request = wire.watch_request(
                key, range_end, start_revision=next_revision, previous=previous, progress=progress
            )
            connection = self._in_use()
            try:
                async with aclosing(_watch_once(connection, request)) as batches:
                    async for begins, batch in batches:
                        if begins:
                            await self._require(next_revision - 1, batch, key, range_end)
                            continue
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
            await self._is_left(connection)
            failures += 1
            await self._clock.sleep(_WATCH_BACKOFF.delay_seconds(failures, self._rng.random()))

    async def _require(
        self, revision: int, begin: WatchBatch, key: bytes, range_end: bytes
    ) -> None:
        """Raise Compacted in an etcd that was restored, where `revision` is yet to come: it waits
        for it and says nothing of the changes until then."""
        if begin.revision < revision:  # this member may merely be behind the others
            now = await self.range(key, range_end, count_only=True)
            if now.revision < revision:
                raise Compacted

    async def _call(self, method: Method, request: Any, *, write: bool = False) -> Any:
        """Ask the member in use; and the next one, when this one cannot have done anything."""
        deadline = self._clock.monotonic() + self._timeout_seconds
        while True:
            connection = self._in_use()
            seconds = max(0.0, deadline - self._clock.monotonic())
            try:
                return await connection.call(method, request, timeout_seconds=seconds, write=write)
            except Busy:
                raise
            except Unavailable:
                left = await self._is_left(connection)
                if not left or self._clock.monotonic() >= deadline:
                    raise

    def _connect(self, member: int) -> Connection:
        return Connection(self._endpoints[member], self._tls)

    def _in_use(self) -> Connection:
        """The connection to ask on; where there are others it is looked after from now on."""
        if self._watchman is None and len(self._endpoints) > 1 and not self._closed:
            self._watchman = asyncio.create_task(self._look_after(), name="etcd members")
        return self._connection

    async def _look_after(self) -> None:
        """Ask the member in use again and again, for a watch would never notice its silence."""
        while True:
            await self._clock.sleep(ASK_SECONDS)
            await self._checked()

    async def _is_left(self, connection: Connection) -> bool:
        """Whether a connection that has failed is no longer the one in use."""
        if len(self._endpoints) == 1 or self._closed:
            return False
        if self._connection is connection:
            await self._checked()
        return self._connection is not connection

    async def _checked(self) -> None:
        """Return when the member in use was asked and left if need be; callers share one check."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._switch_if_silent(), name="etcd check")
        await asyncio.wait([self._check])

    async def _switch_if_silent(self) -> None:
        """Ask the member in use and, if it does not serve, all others at once: the first wins."""
        current = self._members.current
        self._members.heard(current, await self._connection.ask(ANSWER_SECONDS))
        if not self._members.problem:
            return
        asked = [asyncio.create_task(self._ask(other)) for other in self._members.others]
        try:
            for one in asyncio.as_completed(asked):
                if self._hears(*await one):
                    await self._switch_member()
                    return
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, member: int) -> tuple[int, Answer]:
        connection = self._connect(member)
        try:
            return member, await connection.ask(ANSWER_SECONDS)
        finally:
            await connection.close()

    def _hears(self, member: int, answer: Answer) -> bool:
        known, cause = self._members.foreign, self._members.problem
        changed = self._members.heard(member, answer)
        extra = {"endpoint": self._endpoints[member]}
        if changed:
            extra |= {"left": self._connection.target, "cause": cause}
            log.warning("another member of etcd is used from now on", extra=extra)
        elif self._members.foreign - known:
            log.error("an endpoint of etcd belongs to another cluster", extra=extra)
        return changed

    async def _switch_member(self) -> None:
        """Use the member that was chosen; what is under way at the former one ends."""
        former, self._connection = self._connection, self._connect(self._members.current)
        await former.close()


async def _watch_once(
    connection: Connection, request: Any
) -> AsyncGenerator[tuple[bool, WatchBatch], None]:
    """One watch stream until it breaks: (whether it merely begins, what it says)."""
    fragments: list[Event] = []
    async with connection.stream(
        lambda stubs: stubs.watch.Watch, request, metadata=_REQUIRE_LEADER
    ) as call:
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.canceled:
                raise _cancelled(response)
            fragments += wire.events(response.events)
            if not response.fragment:
                yield response.created, WatchBatch(tuple(fragments), response.header.revision)
                fragments = []


def _cancelled(response: Any) -> EtcdError:
    if response.compact_revision:
        return Compacted(response.compact_revision)
    return translate(grpc.StatusCode.FAILED_PRECONDITION, response.cancel_reason, write=False)
