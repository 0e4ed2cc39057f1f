"""Pipes over real connections: aiohttp's server on loopback, both event loops, with TLS or not.

Who does not read is found by what is paused, never by how long something takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from common.limits.ratelimitedlog import RateLimitedLog
from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from common.security.identity import Identity
from master.apiserver.rest import outflow
from master.apiserver.rest.connections import Connection, ConnectionLimiter, connections_of
from master.apiserver.rest.upgrades import pipes, spdystreams
from master.apiserver.rest.upgrades.pipes import Pipe, SwitchedPipe, WebSocketPipe
from tests.fakes import spdyclient
from tests.fakes.spdyclient import Control, Data, Reply, SpdyClient

HOST = "127.0.0.1"
ASK = (
    b"POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
)
TUNNEL = "SPDY/3.1+portforward.k8s.io"
LARGE = bytes(range(256)) * (64 << 10)
"""More than the kernel keeps of a connection."""
Loops = Callable[[], asyncio.AbstractEventLoop]
Handler = Callable[[Pipe], Awaitable[None]]


class Tls:
    """Contexts of both sides."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority.create("wherry", SystemClock())
        pair = authority.issue_server("master", addresses=[HOST])
        file = directory / "serving.pem"
        file.write_bytes(pair.certificate_pem + pair.key_pem)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(file)
        self.client = ssl.create_default_context(cadata=authority.certificate_pem.decode())


class Server:
    """Switches every request over to a pipe, for a handler; its connections are the product's."""

    def __init__(self, handler: Handler, tls: Tls | None) -> None:
        self.tls = tls
        self.port = 0
        self.pipes: asyncio.Queue[Pipe] = asyncio.Queue()
        self._handler = handler
        log = RateLimitedLog(logging.getLogger("test"), SystemClock(), per_second=1.0, burst=3)
        self._limiter = ConnectionLimiter(log, descriptors=1000)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket for GET, else the raw connection."""
        pipe: Pipe
        if isinstance(request.protocol, Connection):
            request.protocol.belongs_to(Identity("admin", ("system:masters",)))
        if request.method == "GET":
            pipe = await WebSocketPipe.switch(request, TUNNEL)
        else:
            chosen = {"X-Stream-Protocol-Version": "v4.channel.k8s.io"}
            pipe = await SwitchedPipe.switch(request, "SPDY/3.1", chosen)
        self.pipes.put_nowait(pipe)
        await self._handler(pipe)
        return pipe.response

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        """Until the block is left."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        assert runner.server is not None
        made = connections_of(runner.server, self._limiter)
        server = await asyncio.get_running_loop().create_server(
            made, HOST, 0, ssl=self.tls.server if self.tls else None
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await runner.cleanup()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that has been switched over."""
        reader, writer = await asyncio.open_connection(
            HOST, self.port, ssl=self.tls.client if self.tls else None
        )
        writer.write(ASK)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" in head
        assert b"\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in head
        return reader, writer


async def until(condition: Callable[[], bool]) -> None:
    """Come back as soon as it holds."""
    while not condition():
        await asyncio.sleep(0.001)


async def echo(pipe: Pipe) -> None:
    """Say what is said."""
    while data := await pipe.read():
        await pipe.write(data)
    await pipe.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loops(request: pytest.FixtureRequest) -> Loops:
    """Which kind of event loop."""
    made: Loops = request.param
    return made


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Tls | None:
    """With TLS or without."""
    return Tls(tmp_path) if request.param else None


def run(loops: Loops, main: Awaitable[None]) -> None:
    """A test on an event loop of that kind."""
    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(main)  # type: ignore[arg-type]


def test_bytes_go_both_ways(loops: Loops, tls: Tls | None) -> None:
    """More than fits anywhere, at once in both directions."""

    async def main() -> None:
        async with Server(echo, tls).listening() as server:
            reader, writer = await server.connect()
            writer.write(LARGE)
            assert await reader.readexactly(len(LARGE)) == LARGE
            writer.close()
            await writer.wait_closed()

    run(loops, main())


def test_what_is_not_read_stays_with_the_client(loops: Loops, tls: Tls | None) -> None:
    """The connection is paused, and goes on once somebody reads."""
    begin = asyncio.Event()
    got = bytearray()

    async def reads_late(pipe: Pipe) -> None:
        await begin.wait()
        while len(got) < len(LARGE):
            got.extend(await pipe.read())
        await pipe.write(b"done")
        await pipe.close()

    async def main() -> None:
        async with Server(reads_late, tls).listening() as server:
            reader, writer = await server.connect()
            pipe: Any = await server.pipes.get()
            writer.write(LARGE)
            await until(lambda: pipe._incoming._paused)
            # uvloop and TLS hand on what they have read already: 256 KiB at most.
            assert len(pipe._incoming._received) <= pipes.READ_AHEAD_BYTES + (256 << 10)
            begin.set()
            assert await reader.readexactly(4) == b"done"
            assert got == LARGE
            writer.close()

    run(loops, main())


def test_who_writes_waits_for_the_client(loops: Loops, tls: Tls | None) -> None:
    """What it has not taken is not in our memory."""
    finished = asyncio.Event()

    async def writes(pipe: Pipe) -> None:
        await pipe.write(LARGE)
        finished.set()
        await pipe.close()

    async def main() -> None:
        async with Server(writes, tls).listening() as server:
            reader, writer = await server.connect()
            pipe: Any = await server.pipes.get()
            await until(lambda: bool(pipe._request.protocol.writing_paused))
            assert not finished.is_set()
            assert pipe._incoming.transport.get_write_buffer_size() < 1 << 20
            assert await reader.readexactly(len(LARGE)) == LARGE
            await finished.wait()
            writer.close()

    run(loops, main())


def test_a_client_that_reads_nothing_is_cut_off(
    loops: Loops, tls: Tls | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, which is short here."""
    monkeypatch.setattr(outflow, "PAUSE_SECONDS", 0.05)
    told: list[str] = []

    async def writes(pipe: Pipe) -> None:
        try:
            await pipe.write(LARGE)
        except ConnectionError as error:
            told.append(str(error))
            raise

    async def main() -> None:
        async with Server(writes, tls).listening() as server:
            _, writer = await server.connect()
            await until(lambda: bool(told))
            assert told == ["the client does not read"]
            writer.transport.abort()

    run(loops, main())


@pytest.mark.parametrize("rude", [False, True])
def test_a_client_that_vanishes(loops: Loops, tls: Tls | None, rude: bool) -> None:
    """The handler is cancelled, and aiohttp has its connection back: nothing of it is left."""
    ended: list[str] = []

    async def waits(pipe: Pipe) -> None:
        try:
            await pipe.read()
            ended.append("read")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        server = Server(waits, tls)
        async with server.listening():
            _, writer = await server.connect()
            await server.pipes.get()
            assert server._limiter._count == 1
            if rude:
                opened: socket.socket = writer.get_extra_info("socket")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await until(lambda: bool(ended) and server._limiter._count == 0)

    run(loops, main())
    assert ended == ["cancelled"]


def test_a_handler_that_has_said_its_farewell_is_not_cancelled(
    loops: Loops, tls: Tls | None
) -> None:
    """The client closes, and the handler goes on to tell what came of it; then all is given back.

    What the client was still saying is dropped, and takes nothing of ours from it.
    """
    ended: list[str] = []

    async def farewell(pipe: Pipe) -> None:
        try:
            async with spdystreams.serve(pipe) as connection:
                stream = await anext(connection)
                await stream.write(b"the exit code")
                stream.close()
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        server = Server(farewell, tls)
        async with server.listening():
            reader, writer = await server.connect()
            peer = SpdyClient()
            writer.write(peer.open({"streamtype": "stdin"}) + spdyclient.data(1, bytes(1 << 20)))
            frames: list[Any] = []
            while not frames or frames[-1] != Control(7, (1, 0)):
                frames += peer.receive(await reader.read(100))
            assert frames[1:3] == [Data(1, b"the exit code", False), Data(1, b"", True)]
            assert not ended
            writer.close()
            await until(lambda: bool(ended) and server._limiter._count == 0)

    run(loops, main())
    assert ended == ["finished"]


def test_a_client_that_vanishes_while_we_wait_for_it_to_close(
    loops: Loops, tls: Tls | None
) -> None:
    """It has not taken everything: the response has an end nevertheless."""
    begin, closing = asyncio.Event(), asyncio.Event()

    async def farewell(pipe: Any) -> None:
        await begin.wait()
        while not pipe._request.protocol.writing_paused:
            await pipe.write(bytes(1000))
        closing.set()
        await pipe.close()

    async def main() -> None:
        server = Server(farewell, tls)
        async with server.listening():
            _, writer = await server.connect()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            begin.set()
            await closing.wait()
            assert server._limiter._count == 1
            writer.transport.abort()
            await until(lambda: server._limiter._count == 0)

    run(loops, main())


def test_a_broken_connection_is_told_from_one_that_was_closed() -> None:
    """To a handler that is not cancelled."""
    ended: list[object] = []

    async def reads(pipe: Pipe) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            ended.append(await pipe.read())
        except ConnectionResetError as error:
            ended.append(str(error))

    async def main() -> None:
        async with Server(reads, None).listening() as server:
            for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):
                _, writer = await server.connect()
                await server.pipes.get()
                opened: socket.socket = writer.get_extra_info("socket")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                count = len(ended)
                writer.transport.abort()
                await until(lambda count=count: len(ended) > count)  # type: ignore[misc]

    run(asyncio.new_event_loop, main())
    assert ended == [b"", "the connection broke"]


# --- WebSockets


@contextlib.asynccontextmanager
async def tunnel(server: Server) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket as kubectl port-forward opens it."""
    scheme = "https" if server.tls else "http"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{scheme}://{HOST}:{server.port}/portforward",
            protocols=[TUNNEL],
            ssl=server.tls.client if server.tls else True,
            max_msg_size=0,
        ) as websocket,
    ):
        assert websocket.protocol == TUNNEL
        yield websocket


def test_messages_are_bytes_wherever_they_are_cut(loops: Loops, tls: Tls | None) -> None:
    """Tiny, empty, or longer than a piece."""

    async def main() -> None:
        async with (
            Server(echo, tls).listening() as server,
            tunnel(server) as websocket,
        ):
            for message in (b"a", b"", b"bc", bytes(100_000)):
                await websocket.send_bytes(message)
            got = b""
            while len(got) < 100_003:
                piece = await websocket.receive_bytes()
                assert len(piece) <= outflow.PIECE_BYTES
                got += piece
            assert got == b"abc" + bytes(100_000)
            await websocket.close()
            assert websocket.close_code == 1000

    run(loops, main())


def test_messages_that_are_not_read_stay_with_the_client(loops: Loops, tls: Tls | None) -> None:
    """And those that the client does not read, with us only as far as they must."""
    begin, finished = asyncio.Event(), asyncio.Event()
    got = bytearray()

    async def reads_late(pipe: Pipe) -> None:
        await begin.wait()
        while len(got) < len(LARGE):
            got.extend(await pipe.read())
        await pipe.write(LARGE)
        finished.set()
        await pipe.close()

    async def main() -> None:
        async with (
            Server(reads_late, tls).listening() as server,
            tunnel(server) as websocket,
        ):
            pipe: Any = await server.pipes.get()
            protocol = pipe._request.protocol
            sending = asyncio.create_task(send(websocket))
            await until(lambda: bool(protocol._reading_paused))
            assert not sending.done()
            begin.set()
            await sending
            await until(lambda: bool(protocol.writing_paused))
            assert not finished.is_set()
            back = bytearray()
            while len(back) < len(LARGE):
                back += await websocket.receive_bytes()
            assert back == got == LARGE

    async def send(websocket: aiohttp.ClientWebSocketResponse) -> None:
        for start in range(0, len(LARGE), 32 << 10):
            await websocket.send_bytes(LARGE[start : start + (32 << 10)])

    run(loops, main())


def test_a_websocket_that_reads_nothing_is_cut_off(
    loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a raw connection is."""
    monkeypatch.setattr(outflow, "PAUSE_SECONDS", 0.05)
    told: list[str] = []

    async def writes(pipe: Pipe) -> None:
        try:
            await pipe.write(LARGE)
        except ConnectionError as error:
            told.append(str(error))

    async def main() -> None:
        async with Server(writes, None).listening() as server, tunnel(server):
            await until(lambda: bool(told))

    run(loops, main())
    assert told == ["the client does not read"]


@pytest.mark.parametrize("what", ["text", "closed", "broken"])
def test_other_messages_end_it(what: str) -> None:
    """Text is an error, a close the end."""
    ended: list[object] = []

    async def reads(pipe: Pipe) -> None:
        try:
            ended.append(await pipe.read())
        except (ConnectionResetError, asyncio.CancelledError) as error:
            ended.append(type(error))
            raise

    async def main() -> None:
        async with Server(reads, None).listening() as server, tunnel(server) as websocket:
            if what == "text":
                await websocket.send_str("text")
            elif what == "closed":
                await websocket.close()
            else:
                transport = websocket.get_extra_info("socket")
                assert transport is not None
                websocket._response.connection.transport.abort()  # type: ignore[union-attr]
            await until(lambda: bool(ended))

    run(asyncio.new_event_loop, main())
    assert (
        ended
        == {
            "text": [ConnectionResetError],
            "closed": [b""],
            "broken": [asyncio.CancelledError],
        }[what]
    )


# --- SPDY on them


async def echo_streams(pipe: Pipe) -> None:
    """Each stream says what is said, and ends when the client ends it."""
    async with spdystreams.serve(pipe) as connection, asyncio.TaskGroup() as group:
        async for stream in connection:
            group.create_task(answer(stream))


async def answer(stream: spdystreams.Stream) -> None:
    with contextlib.suppress(ConnectionResetError):
        while data := await stream.read():
            await stream.write(data)
        stream.close()


def test_spdy_over_a_raw_connection(loops: Loops, tls: Tls | None) -> None:
    """Two streams, a ping, the end."""

    async def main() -> None:
        async with Server(echo_streams, tls).listening() as server:
            reader, writer = await server.connect()
            peer = SpdyClient()
            writer.write(peer.open({"streamtype": "error"}, fin=True))
            writer.write(peer.open({"streamtype": "data"}) + spdyclient.ping(1))
            for start in range(0, len(LARGE), 1 << 16):
                writer.write(spdyclient.data(3, LARGE[start : start + (1 << 16)]))
            writer.write(spdyclient.data(3, b"", fin=True))
            frames, total = [], 0
            while not frames or frames[-1] != Data(3, b"", True):
                for frame in peer.receive(await reader.read(1 << 16)):
                    frames.append(frame)
                    total += len(frame.data) if isinstance(frame, Data) else 0
            assert total == len(LARGE)
            assert {Reply(1, bytes(4)), Reply(3, bytes(4)), Control(6, (1,))} <= set(frames)
            assert Data(1, b"", True) in frames
            writer.write(spdyclient.goaway())
            assert peer.receive(await reader.read(100)) == [Control(7, (3, 0))]
            writer.close()

    run(loops, main())


def test_spdy_inside_a_websocket(loops: Loops, tls: Tls | None) -> None:
    """Frames in messages of two and four bytes, as kubectl cuts them."""

    async def main() -> None:
        async with (
            Server(echo_streams, tls).listening() as server,
            tunnel(server) as websocket,
        ):
            peer = SpdyClient()
            said = peer.open({"streamtype": "data"}) + spdyclient.data(1, b"hello", fin=True)
            for start in range(0, len(said), 3):
                await websocket.send_bytes(said[start : start + 3])
            frames: list[Any] = []
            while not frames or frames[-1] != Data(1, b"", True):
                frames += peer.receive(await websocket.receive_bytes())
            assert frames[0] == Reply(1, bytes(4))
            assert b"".join(frame.data for frame in frames[1:]) == b"hello"

    run(loops, main())


def test_the_end_of_spdy_inside_a_websocket(loops: Loops, tls: Tls | None) -> None:
    """We say it twice: GOAWAY, then a close in good order."""

    async def farewell(pipe: Pipe) -> None:
        async with spdystreams.serve(pipe) as connection:
            stream = await anext(connection)
            await stream.write(b"bye")

    async def main() -> None:
        async with (
            Server(farewell, tls).listening() as server,
            tunnel(server) as websocket,
        ):
            peer = SpdyClient()
            await websocket.send_bytes(peer.open({"streamtype": "data"}))
            said = b"".join([message.data async for message in websocket])
            assert peer.receive(said) == [
                Reply(1, bytes(4)),
                Data(1, b"bye", False),
                Control(7, (1, 0)),
            ]
            assert websocket.close_code == 1000

    run(loops, main())
