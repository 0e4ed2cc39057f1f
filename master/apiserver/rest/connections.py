"""Connections of the HTTPS server, and what those may take who have not said who they are.

A stranger has a few seconds for its first request and its credentials, and a bounded number of
connections, by source and in all: docs/decisions/0012-bounds.md.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.web_protocol import _ErrInfo

from common.api import errors
from common.api.codec import json as codec
from common.api.wellknown import MASTERS
from common.limits.ratelimitedlog import RateLimitedLog
from common.limits.unread import Holding, Unread
from common.security.identity import Identity
from master.apiserver.rest import outflow
from master.apiserver.rest.listener import Listener

STRANGER_SECONDS = 15.0
"""From the handshake until somebody has said who they are."""
KEEPALIVE_SECONDS = 3600.0
STRANGERS_MAX = 2000
STRANGERS_OF_A_SOURCE_MAX = 1000
OF_A_USER_MAX = 500
"""Connections of one user who is no administrator."""
HEAD_MAX_BYTES = 64 << 10
"""Of a request's first line and headers; read before anybody has said who they are."""
HEADS_MAX_BYTES = 8 << 20
"""Of all heads that are not whole yet. Those that come in one piece are not among them."""
DESCRIPTORS_RESERVED = 200
"""For etcd, gRPC, files: connections never take the last ones."""


class ConnectionLimiter:
    """Counts connections: strangers by source, and all of them."""

    def __init__(self, log: RateLimitedLog, *, descriptors: int) -> None:
        self.log = log
        self._room = max(1, descriptors - DESCRIPTORS_RESERVED)
        self._strangers_max = min(STRANGERS_MAX, max(1, self._room // 2))
        self._of_a_source_max = min(STRANGERS_OF_A_SOURCE_MAX, max(1, self._strangers_max // 2))
        self._count = 0
        self.heads_bytes = 0
        """Of heads that are not whole yet."""
        self._strangers: dict[str, OrderedDict[Connection, None]] = defaultdict(OrderedDict)
        self._strangers_count = 0
        self._of_users: Counter[str] = Counter()

    def enter(self, connection: Connection) -> bool:
        """Take a new connection, a stranger's; False when there is no room for it.

        When its source has too many strangers, the oldest of them goes: who has something to say
        does so at once, and others may share the address. When there are too many in all, it is
        the oldest of the source that has most of them.
        """
        source = connection.source
        if self._count >= self._room:
            self.log.warning("a connection was refused", source=source, connections=self._count)
            return False
        if len(self._strangers[source]) >= self._of_a_source_max:
            self._close_oldest(self._strangers[source])
        elif self._strangers_count >= self._strangers_max:
            self._close_oldest(max(self._strangers.values(), key=len))
        self._count += 1
        self._strangers[source][connection] = None
        self._strangers_count += 1
        return True

    def _close_oldest(self, crowd: OrderedDict[Connection, None]) -> None:
        oldest = next(iter(crowd))
        self.log.warning(
            "an unknown client's connection was closed", source=oldest.source, strangers=len(crowd)
        )
        self._forget_stranger(oldest)
        oldest.abort()

    def knows(self, connection: Connection, user: str) -> bool:
        """Somebody has said on it who they are; False when they have too many others.

        An empty `user` may have any number.
        """
        if user and self._of_users[user] >= OF_A_USER_MAX:
            self.log.warning("a connection was refused", user=user, connections=OF_A_USER_MAX)
            return False
        self._of_users[user] += 1
        self._forget_stranger(connection)
        return True

    def _forget_stranger(self, connection: Connection) -> None:
        crowd = self._strangers.get(connection.source)
        if crowd is not None and connection in crowd:
            del crowd[connection]
            self._strangers_count -= 1
            if not crowd:
                del self._strangers[connection.source]

    def leave(self, connection: Connection) -> None:
        """A connection that was taken is closed."""
        self._forget_stranger(connection)
        self._count -= 1
        if connection.user is not None:
            self._of_users[connection.user] -= 1
            if not self._of_users[connection.user]:
                del self._of_users[connection.user]


class Connection(web.RequestHandler):
    """One connection; closed when its client takes too long to say what it wants."""

    __slots__ = (
        "_body",
        "_expiry",
        "_head_bytes",
        "_inside",
        "_is_upgraded",
        "_limiter",
        "_malformed",
        "source",
        "user",
    )

    def __init__(self, manager: web.Server, limiter: ConnectionLimiter, **options: Any) -> None:
        super().__init__(manager, **options)
        self._limiter = limiter
        self._inside = False
        self._expiry: asyncio.TimerHandle | None = None
        self._malformed = False
        self._is_upgraded = False
        self._head_bytes = 0
        self._body: StreamReader = EMPTY_PAYLOAD
        self.source = ""
        self.user: str | None = None
        """Whom it is counted for: '' for administrators, None for strangers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """After the handshake."""
        # uvloop would take half a megabyte of an answer before it asks for a pause.
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=outflow.PIECE_BYTES)
        peer = transport.get_extra_info("peername")
        self.source = str(peer[0]) if peer else ""
        super().connection_made(transport)
        self._inside = self._limiter.enter(self)
        if not self._inside:
            self.abort()
            return
        self._expiry = self._loop.call_later(STRANGER_SECONDS, self.abort)

    def data_received(self, data: bytes) -> None:
        """Read; the head of a request is not without end, as aiohttp would take it.

        What follows a malformed request is dropped: aiohttp would keep all of it until its turn.
        """
        if self._malformed:
            return
        if self._is_upgraded:
            super().data_received(data)
            return
        in_head, waiting = self._body.is_eof(), len(self._messages)
        super().data_received(data)
        if len(self._messages) > waiting:
            self._count_head(-self._head_bytes)
            message, self._body = self._messages[-1]
            self._malformed = isinstance(message, _ErrInfo)
        elif in_head:
            self._count_head(len(data))
            if self._head_bytes > HEAD_MAX_BYTES or self._limiter.heads_bytes > HEADS_MAX_BYTES:
                self._limiter.log.warning("the head of a request is too long", source=self.source)
                self.abort()

    def set_parser(self, *arguments: Any, **named: Any) -> None:
        """What comes from now on is no HTTP, and for the parser to bound."""
        self._is_upgraded = True
        self._count_head(-self._head_bytes)
        super().set_parser(*arguments, **named)

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        self._limiter.heads_bytes += more

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end of it."""
        self._count_head(-self._head_bytes)
        if self._expiry is not None:
            self._expiry.cancel()
            # What it said in the same breath may come to be handled now, and counts for nobody.
            self._expiry = None
        if self._inside:
            self._inside = False
            self._limiter.leave(self)
        super().connection_lost(exc)

    def belongs_to(self, identity: Identity) -> None:
        """Somebody has said who they are: from now on it may be idle. Raises StatusError 429."""
        if self.user is not None or self._expiry is None:
            return
        user = "" if MASTERS in identity.groups else identity.user
        if not self._limiter.knows(self, user):
            raise errors.too_many_requests("too many connections", retry_after_seconds=1)
        self.user = user
        self._expiry.cancel()
        self._expiry = None

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP gets a Status, and one line of the log at most."""
        self._limiter.log.warning("a request was malformed", source=self.source, error=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        error = errors.bad_request("the request is not HTTP/1.1 as it should be")
        if status != 400:
            error = errors.internal("see the log of wherry-master")
        response = web.Response(
            status=status, body=codec.encode(error.status()), content_type="application/json"
        )
        response.force_close()
        return response


def held_for(request: web.Request, unread: Unread) -> Holding:
    """A place for what the request's client has not read; its connection can be cut off for it."""
    protocol = request.protocol
    user = protocol.user if isinstance(protocol, Connection) else None

    def cut_off() -> None:
        if request.transport is not None:
            request.transport.abort()

    return unread.hold(user or "", cut_off)


def connections_of(manager: web.Server, limiter: ConnectionLimiter) -> Callable[[], Connection]:
    """What makes the protocol of each new connection of a server."""
    return partial(
        Connection,
        manager,
        limiter,
        loop=asyncio.get_running_loop(),
        access_log=None,
        keepalive_timeout=KEEPALIVE_SECONDS,
        auto_decompress=False,
    )


class Site(web.TCPSite):
    """Listens, and makes a Connection of each client."""

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext,
        limiter: ConnectionLimiter,
    ) -> None:
        super().__init__(runner, host, port, ssl_context=context, backlog=1024)
        self._context = context
        self._limiter = limiter
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Begin to listen."""
        await web.BaseSite.start(self)
        manager = self._runner.server
        assert manager is not None
        family = socket.AF_INET6 if ":" in str(self._host) else socket.AF_INET
        listening = socket.create_server(
            (self._host, self._port), family=family, backlog=self._backlog
        )
        self._listener = Listener(listening, self._context, connections_of(manager, self._limiter))

    async def stop(self) -> None:
        """Take nobody any more."""
        if self._listener is not None:
            self._listener.close()
        await super().stop()
