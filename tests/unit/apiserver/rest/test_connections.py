"""What strangers may take of the HTTPS server: seconds, connections, lines of the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from common.api.errors import StatusError
from common.limits.ratelimitedlog import RateLimitedLog
from common.runtime.clock import SystemClock
from common.security.identity import Identity
from master.apiserver.rest import connections
from master.apiserver.rest.connections import Connection, ConnectionLimiter, connections_of
from master.apiserver.rest.server import status_response

SOON = 0.2
NODE = Identity("system:node:n1", ("system:nodes",))
ADMIN = Identity("admin", ("system:masters",))
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """Answers `ok`; whoever asks for /node or /admin has said who they are."""

    def __init__(self) -> None:
        log = RateLimitedLog(logging.getLogger("test"), SystemClock(), per_second=0.001, burst=3)
        self.limiter = ConnectionLimiter(log, descriptors=1000)
        self.port = 0
        self.hold: asyncio.Event | None = None
        """What the answer to /node waits for."""
        self.asked, self.answered = asyncio.Event(), asyncio.Event()
        self._open: list[asyncio.StreamWriter] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        protocol = request.protocol
        assert isinstance(protocol, Connection)
        self.asked.set()
        try:
            if request.path == "/node" and self.hold is not None:
                await self.hold.wait()
            if request.path == "/node":
                protocol.belongs_to(NODE)
            if request.path == "/admin":
                protocol.belongs_to(ADMIN)
        except StatusError as error:
            return status_response(error)
        finally:
            self.answered.set()
        return web.Response(text="ok")

    async def connect(self, first: bytes = b"") -> tuple[asyncio.StreamReader, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._open.append(writer)
        writer.write(first)
        await writer.drain()
        return reader, writer

    async def ask(self, what: bytes) -> bytes:
        """The status line of an answer, on a connection that stays open."""
        reader, _ = await self.connect(GET % what)
        return await reader.readline()

    async def stop(self) -> None:
        for writer in self._open:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    make = connections_of(runner.server, made.limiter)
    listening = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    await made.stop()
    listening.close()
    await runner.cleanup()


async def closed(reader: asyncio.StreamReader) -> bool:
    """Wait for the server to close; whether it has said nothing before."""
    async with asyncio.timeout(10):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHos"], ids=["nothing", "half a header"])
async def test_a_stranger_who_does_not_go_on_is_sent_away(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "STRANGER_SECONDS", SOON)
    reader, _ = await server.connect(said)
    assert await closed(reader)


async def test_a_stranger_who_only_asks_how_we_are_may_not_stay(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STRANGER_SECONDS", SOON)
    reader, _ = await server.connect(GET % b"livez")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    assert not await closed(reader)


async def test_a_known_client_may_be_idle(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STRANGER_SECONDS", SOON)
    idle, writer = await server.connect(GET % b"node")
    stranger, _ = await server.connect()
    assert await closed(stranger), "the time of strangers is over"
    writer.write(GET % b"node")
    answers = await idle.readuntil(b"\r\n\r\nok") + await idle.readuntil(b"\r\n\r\nok")
    assert answers.count(b"200 OK") == 2


async def test_of_a_crowd_of_one_source_the_oldest_go(server: Server) -> None:
    """Who shares its address with them, and has something to say, is heard."""
    server.limiter._of_a_source_max = 5
    strangers = [await server.connect() for _ in range(5)]
    assert await server.ask(b"node") == b"HTTP/1.1 200 OK\r\n"
    assert await closed(strangers[0][0])
    assert len(server.limiter._strangers["127.0.0.1"]) == 4, "one is known, and counts no more"
    strangers += [await server.connect() for _ in range(3)]
    assert all([await closed(reader) for reader, _ in strangers[1:3]])
    assert len(server.limiter._strangers["127.0.0.1"]) == 5
    assert not strangers[3][0].at_eof()


async def test_in_a_crowd_of_all_the_oldest_goes(server: Server) -> None:
    server.limiter._strangers_max = 5
    strangers = [await server.connect() for _ in range(5)]
    while len(server.limiter._strangers["127.0.0.1"]) < 5:
        await asyncio.sleep(0.01)
    assert await server.ask(b"livez") == b"HTTP/1.1 200 OK\r\n"
    assert await closed(strangers[0][0])


async def test_who_is_known_is_no_stranger_and_leaves_no_trace(server: Server) -> None:
    server.limiter._of_a_source_max = 1
    for _ in range(5):
        assert await server.ask(b"node") == b"HTTP/1.1 200 OK\r\n"
    assert server.limiter._of_users == {NODE.user: 5}
    await server.stop()
    async with asyncio.timeout(10):
        while server.limiter._count:
            await asyncio.sleep(0.01)
    assert not server.limiter._of_users
    assert not server.limiter._strangers


async def test_who_is_known_too_late_is_not_counted(server: Server) -> None:
    """A connection that is lost before its request is handled must not count for ever."""
    server.hold = asyncio.Event()
    async with asyncio.timeout(10):
        _, writer = await server.connect(GET % b"node")
        await server.asked.wait()
        writer.transport.abort()
        while server.limiter._count:
            await asyncio.sleep(0.01)
        server.hold.set()
        await server.answered.wait()
    assert not server.limiter._of_users


async def test_a_user_has_so_many_connections_and_an_administrator_any(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "OF_A_USER_MAX", 3)
    for who, statuses in ((b"node", [200, 200, 200, 429]), (b"admin", [200] * 8)):
        for status in statuses:
            assert b" %d " % status in await server.ask(who)


async def test_descriptors_are_left_for_others(server: Server) -> None:
    server.limiter._room = 3
    for _ in range(3):
        assert b"200" in await server.ask(b"admin")
    reader, _ = await server.connect()
    assert await closed(reader)


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: x\r\n" % n for n in range(200)) + b"\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=lambda data: repr(data[:30]))
async def test_what_is_no_http_is_a_bad_request(
    server: Server, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    """F18: and nothing of what follows on the connection is taken for a request."""
    reader, _ = await server.connect(request_bytes + GET % b"admin")
    async with asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert answer.count(b" 400 Bad Request") == 1
    assert b"200 OK" not in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "BadRequest"
    assert all(record.exc_info is None for record in caplog.records)


async def test_malformed_requests_do_not_fill_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        reader, _ = await server.connect(b"GET / HTTP/9.9\r\nA: " + b"x" * 4000 + b"\r\n\r\n")
        await closed(reader)
    assert len(caplog.records) == 3
    assert all(len(str(vars(record))) < 3000 for record in caplog.records)


@pytest.mark.parametrize("part", [b"X-%d: " + b"y" * 4000 + b"\r\n", b"x" * 4000])
async def test_the_head_of_a_request_is_not_without_end(server: Server, part: bytes) -> None:
    """Headers, and the path in the first line."""
    start = GET[:-4] % b"" + b"\r\n" if part.endswith(b"\n") else b"GET /"
    reader, writer = await server.connect(start)
    sent = 0
    with suppress(ConnectionError):
        for number in range(1000):
            writer.write(part % number if b"%d" in part else part)
            await writer.drain()
            sent += len(part)
            await asyncio.sleep(0)
            if reader.at_eof():
                break
    assert await closed(reader)
    assert server.limiter.heads_bytes == 0


async def test_heads_together_are_bounded_and_whole_ones_still_welcome(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEADS_MAX_BYTES", 20_000)
    half = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 4000
    for _ in range(8):
        await server.connect(half)
    assert await server.ask(b"node") == b"HTTP/1.1 200 OK\r\n"
    assert 0 < server.limiter.heads_bytes <= 20_000


async def test_a_long_body_is_no_head(server: Server) -> None:
    many = 300_000
    head = b"GET /node HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % many
    reader, writer = await server.connect(head)
    for _ in range(30):
        writer.write(b"z" * (many // 30))
        await writer.drain()
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\nok")
    writer.write(GET % b"node")
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\nok")
    assert server.limiter.heads_bytes == 0


async def test_what_follows_a_malformed_request_is_not_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further piece would be another malformed request, and wait with all of its bytes."""
    made: list[Connection] = []
    enter = server.limiter.enter
    monkeypatch.setattr(server.limiter, "enter", lambda one: made.append(one) or enter(one))
    free = asyncio.Event()
    server.hold = free
    _, writer = await server.connect(GET % b"node" + b"GET /")
    await server.ask(b"now")
    for _ in range(40):
        writer.write(b"x" * 20_000)
        await writer.drain()
        await server.ask(b"now")
    assert len(made[0]._messages) <= 1
    free.set()
