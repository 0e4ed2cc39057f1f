"""One channel to one member of etcd. No error of gRPC's leaves it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from common.etcd import wire
from common.etcd.errors import EtcdError, Refused, Unavailable, translate
from common.etcd.members import Answer
from common.etcd.types import Tls

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

Method = Callable[[wire.Stubs], Any]
"""One of etcd's methods, by the stubs of a channel."""


class Connection:
    """A channel to one endpoint, HOST:PORT; without `tls` in plain text, for loopback only."""

    def __init__(self, target: str, tls: Tls | None) -> None:
        self.target = target
        self._closed = False
        self._channel = _channel(target, tls)
        self._stubs = wire.Stubs(self._channel)

    async def close(self) -> None:
        """Close the channel; calls and streams under way end with Unavailable."""
        self._closed = True
        await self._channel.close()

    async def call(
        self, method: Method, request: Any, *, timeout_seconds: float, write: bool = False
    ) -> Any:
        """One question, one answer; `write` says that it could change data."""
        try:
            return await method(self._stubs)(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "", write=write) from error
        except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
            raise Unavailable("the connection is closed") from error
        except asyncio.CancelledError as error:
            self._raise_if_closed(error, write=write)
            raise

    @asynccontextmanager
    async def stream(self, method: Method, request: Any, **options: Any) -> AsyncIterator[Any]:
        """A call on which `request` has been sent; what goes wrong in it is an error of ours."""
        try:
            call = method(self._stubs)(**options)
        except grpc.aio.UsageError as error:
            raise Unavailable("the connection is closed") from error
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

    async def ask(self, timeout_seconds: float) -> Answer:
        """Whether the member serves: a read that finds nothing, yet goes through the quorum."""
        request = wire.range_request(b"\0", b"", limit=0, revision=0, count_only=True)
        try:
            answer = await self.call(
                lambda stubs: stubs.kv.Range, request, timeout_seconds=timeout_seconds
            )
        except Refused:
            return Answer()  # it has asked the quorum, and knows our rights
        except EtcdError as error:
            return Answer(problem=str(error))
        return Answer(cluster_id=answer.header.cluster_id)

    async def _first_write(self, call: Any, request: Any) -> None:
        """Send the first message; gRPC never wakes a write whose call is cancelled as it opens."""
        writing = asyncio.ensure_future(call.write(request))

        def end(_: Any) -> None:
            if self._closed:
                writing.cancel()

        call.add_done_callback(end)
        await writing

    def _raise_if_closed(self, error: asyncio.CancelledError, *, write: bool = False) -> None:
        """gRPC cancels the calls of a closed channel: their callers were not cancelled."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            code = grpc.StatusCode.CANCELLED
            raise translate(code, "the connection is closed", write=write) from error


def _channel(target: str, tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(target, _CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca_pem, tls.key_pem, tls.certificate_pem)
    options: tuple[tuple[str, int | str], ...] = _CHANNEL_OPTIONS
    if tls.server_name:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    return grpc.aio.secure_channel(target, credentials, options)


async def _stream_error(call: Any) -> EtcdError:
    """What ended a stream."""
    if not call.done():
        return Unavailable("the connection is closed")
    return translate(await call.code(), await call.details() or "", write=False)
