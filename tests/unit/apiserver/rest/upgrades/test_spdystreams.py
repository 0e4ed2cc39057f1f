"""Streams over a pipe in memory: hand-over, back-pressure, and every way to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import spdy, spdystreams
from master.apiserver.rest.upgrades.spdystreams import Connection, Stream, serve
from tests.fakes import spdyclient as client
from tests.fakes.spdyclient import Control, Data, Reply, SpdyClient

GOODBYE = Control(7, (1, 0))


class MemoryPipe:
    """A pipe; `takes` says whether what is written is taken."""

    def __init__(self) -> None:
        self.response = web.StreamResponse()
        self.incoming: asyncio.Queue[bytes | ConnectionError] = asyncio.Queue()
        self.sent = bytearray()
        self.takes = asyncio.Event()
        self.takes.set()
        self.closed = self.aborted = False

    async def read(self) -> bytes:
        """What the client said next."""
        data = await self.incoming.get()
        if isinstance(data, ConnectionError) or not data:
            self.incoming.put_nowait(data)
        if isinstance(data, ConnectionError):
            raise data
        return data

    async def write(self, data: bytes) -> None:
        """Wait until it is taken."""
        await self.takes.wait()
        if self.aborted:
            raise ConnectionResetError
        self.sent += data

    async def close(self) -> None:
        """Until the client has closed, too."""
        while await self.read():
            pass
        self.closed = True

    def abort(self) -> None:
        """At once."""
        self.aborted = True
        self.incoming.put_nowait(b"")


class Session:
    """A client and what it has to do with us."""

    def __init__(self) -> None:
        self.pipe = MemoryPipe()
        self.peer = SpdyClient()

    def says(self, *parts: bytes) -> None:
        """To us."""
        for part in parts:
            self.pipe.incoming.put_nowait(part)

    def hangs_up(self) -> None:
        """In good order."""
        self.says(b"")

    def breaks(self) -> None:
        """Its machine has gone."""
        self.pipe.incoming.put_nowait(ConnectionResetError("gone"))

    def hears(self) -> list[client.Frame]:
        """What has been sent to it since it was asked last."""
        sent = bytes(self.pipe.sent)
        self.pipe.sent.clear()
        return self.peer.receive(sent)

    async def stream(self, connection: Connection) -> Stream:
        """One more stream, opened by the client."""
        self.says(self.peer.open({"streamtype": "data"}))
        stream = await anext(connection)
        await turns()
        return stream


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    """A client; no task may be left when its test is over."""
    before = asyncio.all_tasks()
    yield Session()
    await turns()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


async def turns() -> None:
    """Everybody does what can be done now: nothing here waits for anything outside of the loop."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_streams_are_accepted_read_and_written(session: Session) -> None:
    """In the order in which they are opened."""
    async with serve(session.pipe) as connection:
        session.says(session.peer.open({"streamtype": "error"}, fin=True))
        session.says(session.peer.open({"streamtype": "data"}) + client.data(3, b"ping"))
        error, data = await anext(connection), await anext(connection)
        assert (error.headers, data.headers) == ({"streamtype": "error"}, {"streamtype": "data"})
        assert await error.read() == b""
        assert await data.read() == b"ping"
        await data.write(b"pong")
        data.close()
        data.close()
        await turns()
        assert session.hears() == [
            Reply(1, bytes(4)),
            Reply(3, bytes(4)),
            Data(3, b"pong", False),
            Data(3, b"", True),
        ]
        session.says(client.data(3, b"bye", fin=True))
        assert [await data.read(), await data.read(), await data.read()] == [b"bye", b"", b""]
        session.hangs_up()
    assert session.pipe.closed


async def test_large_writes_are_divided_and_streams_take_turns(session: Session) -> None:
    """So that one stream's megabytes do not delay another's few bytes."""
    async with serve(session.pipe) as connection:
        one, two = await session.stream(connection), await session.stream(connection)
        session.hears()
        session.pipe.takes.clear()
        large = bytes(range(256)) * (1 << 12)
        writers = [asyncio.create_task(one.write(large)), asyncio.create_task(two.write(b"x"))]
        await turns()
        session.pipe.takes.set()
        await asyncio.gather(*writers)
        await turns()
        frames = [frame for frame in session.hears() if isinstance(frame, Data)]
        assert b"".join(frame.data for frame in frames if frame.stream_id == 1) == large
        assert max(len(frame.data) for frame in frames) == spdy.FRAME_DATA_MAX_BYTES
        assert Data(3, b"x", False) in frames[:6]
        session.hangs_up()


async def test_what_nobody_reads_stays_with_the_client(session: Session) -> None:
    """One stream that is not read holds up all; when it is read, they go on."""
    async with serve(session.pipe) as connection:
        slow, quick = await session.stream(connection), await session.stream(connection)
        chunk = bytes(32 << 10)
        session.says(*[client.data(1, chunk)] * 100, client.data(3, b"x"))
        await turns()
        assert connection._unread == spdystreams.UNREAD_MAX_BYTES
        waiting = 101 - spdystreams.UNREAD_MAX_BYTES // len(chunk)
        assert session.pipe.incoming.qsize() == waiting
        total = 0
        while total < 100 * len(chunk):
            total += len(await slow.read())
        assert await quick.read() == b"x"
        session.hangs_up()


@pytest.mark.parametrize("ours", [False, True])
async def test_a_reset_makes_room_for_other_streams(session: Session, ours: bool) -> None:
    """What a stream has not read is of no use any more."""
    async with serve(session.pipe) as connection:
        slow, quick = await session.stream(connection), await session.stream(connection)
        full = client.data(1, bytes(spdystreams.UNREAD_MAX_BYTES - 1))
        session.says(full + (b"" if ours else client.reset(1)), client.data(1, b"z" * 9))
        await turns()
        if ours:
            slow.reset()
            slow.reset()
        session.says(client.data(3, b"x"))
        assert await quick.read() == b"x"
        assert connection._unread == 0
        with pytest.raises(ConnectionResetError, match="reset"):
            await slow.read()
        with pytest.raises(ConnectionResetError, match="closed"):
            await slow.write(b"y")
        slow.close()
        await turns()
        resets = [frame for frame in session.hears() if isinstance(frame, Control)]
        assert resets == ([Control(3, (1, spdy.CANCEL))] if ours else [])
        session.hangs_up()


async def test_a_client_that_does_not_read_holds_up_who_writes(session: Session) -> None:
    """What is unsent is bounded, and nothing of it is lost."""
    async with serve(session.pipe) as connection:
        stream = await session.stream(connection)
        session.hears()
        session.pipe.takes.clear()
        large = bytes(4 << 20)
        writer = asyncio.create_task(stream.write(large))
        await turns()
        assert not writer.done()
        unsent = spdystreams.UNSENT_MAX_BYTES
        assert unsent <= len(connection._unsent) <= unsent + (32 << 10)
        session.pipe.takes.set()
        await writer
        await turns()
        got = [frame.data for frame in session.hears() if isinstance(frame, Data)]
        assert b"".join(got) == large
        session.hangs_up()


async def test_a_cancelled_write_leaves_whole_frames(session: Session) -> None:
    """And others go on."""
    async with serve(session.pipe) as connection:
        one, two = await session.stream(connection), await session.stream(connection)
        session.pipe.takes.clear()
        writer = asyncio.create_task(one.write(bytes(4 << 20)))
        await turns()
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        session.pipe.takes.set()
        await two.write(b"x")
        await turns()
        assert session.hears()[-1] == Data(3, b"x", False)
        session.hangs_up()


async def test_what_the_protocol_demands_is_bounded_as_well(session: Session) -> None:
    """A client that sends pings and reads no echo is not read on."""
    async with serve(session.pipe) as connection:
        await session.stream(connection)
        session.pipe.takes.clear()
        pings = client.ping(1) * 1000
        session.says(*[pings] * 50)
        await turns()
        most = 2 * spdystreams.UNSENT_MAX_BYTES + len(client.ping(1))
        assert most > len(connection._unsent) >= 2 * spdystreams.UNSENT_MAX_BYTES
        assert session.pipe.incoming.qsize() > 30
        session.pipe.takes.set()
        await turns()
        assert session.hears().count(Control(6, (1,))) == 50_000
        session.hangs_up()


async def test_streams_that_nobody_accepts_are_bounded(session: Session) -> None:
    """Also when they are reset at once, and count as open no longer."""
    async with serve(session.pipe) as connection:
        for number in range(100):
            session.says(session.peer.open({}) + client.reset(2 * number + 1))
        await turns()
        assert len(connection._opened) == spdystreams.UNACCEPTED_MAX
        for _ in range(100):
            await anext(connection)
        session.hangs_up()


@pytest.mark.parametrize("how", ["hangs up", "breaks", "goes away"])
async def test_the_client_goes(session: Session, how: str) -> None:
    """What has come can be read; a stream that had no end is broken, and no other comes."""
    async with serve(session.pipe) as connection:
        stream, ended = await session.stream(connection), await session.stream(connection)
        idle = await session.stream(connection)
        reading = asyncio.create_task(idle.read())
        session.says(client.data(1, b"last") + client.data(3, b"all", fin=True))
        if how == "breaks":
            session.breaks()
        else:
            session.says(client.goaway() if how == "goes away" else b"")
            session.hangs_up()
        assert [stream async for stream in connection] == []
        assert [await ended.read(), await ended.read()] == [b"all", b""]
        assert await stream.read() == b"last"
        for broken in (stream.read(), reading, stream.write(b"x"), ended.write(b"x")):
            with pytest.raises(ConnectionResetError, match="the client has gone"):
                await broken
        stream.close()
        stream.reset()


async def test_who_waits_to_write_learns_that_the_client_has_gone(session: Session) -> None:
    """The pipe says so where it writes; the reader ends, too."""
    async with serve(session.pipe) as connection:
        stream = await session.stream(connection)
        session.pipe.takes.clear()
        writer = asyncio.create_task(stream.write(bytes(4 << 20)))
        await turns()
        session.pipe.aborted = True
        session.pipe.takes.set()
        session.says(client.data(1, b"late"))
        with pytest.raises(ConnectionResetError, match="gone"):
            await writer
        assert [stream async for stream in connection] == []


async def test_a_client_that_breaks_the_rules_is_told_so(session: Session) -> None:
    """And its streams end."""
    async with serve(session.pipe) as connection:
        stream = await session.stream(connection)
        session.says(client.control(5, b""))
        assert [stream async for stream in connection] == []
        with pytest.raises(ConnectionResetError, match="unknown type of frame: 5"):
            await stream.read()
        session.hangs_up()
    assert session.hears()[-1] == Control(7, (1, spdy.GOAWAY_PROTOCOL_ERROR))
    assert session.pipe.closed


async def test_the_end_waits_for_the_client_to_take_everything(session: Session) -> None:
    """What it says meanwhile is taken and dropped, until it closes."""

    async def handler() -> None:
        async with serve(session.pipe) as connection:
            stream = await anext(connection)
            await stream.write(b"the exit code")
            stream.close()

    session.pipe.takes.clear()
    session.says(session.peer.open({}))
    task = asyncio.create_task(handler())
    await turns()
    session.says(client.data(1, b"x" * 100), session.peer.open({}))
    session.pipe.takes.set()
    await turns()
    assert session.hears()[1:] == [Data(1, b"the exit code", False), Data(1, b"", True), GOODBYE]
    assert not task.done()
    session.hangs_up()
    await task
    assert session.pipe.closed


async def test_a_client_that_does_not_close_is_not_waited_for_long(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it reads or not."""
    monkeypatch.setattr(outflow, "PAUSE_SECONDS", 0.01)
    async with serve(session.pipe) as connection:
        stream = await session.stream(connection)
        session.pipe.takes.clear()
        await stream.write(b"x")
    assert session.pipe.aborted
    assert not session.pipe.closed


async def test_cancellation_and_errors_pass_through(session: Session) -> None:
    """The connection ends, the client is told, and whoever cancelled learns of it."""
    waits = asyncio.Event()

    async def handler() -> None:
        async with serve(session.pipe) as connection:
            stream = await session.stream(connection)
            waits.set()
            await stream.read()

    task = asyncio.create_task(handler())
    await waits.wait()
    task.cancel()
    session.hangs_up()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert session.hears()[-1] == GOODBYE


async def test_an_error_of_the_handler_is_its_own(session: Session) -> None:
    """The connection is closed all the same."""
    session.hangs_up()
    with pytest.raises(ConnectionRefusedError, match="of the node"):
        async with serve(session.pipe):
            raise ConnectionRefusedError("of the node")
    assert session.pipe.closed
