"""Sessions on nodes: none is left behind, no frame is lost, and nobody sends without bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from common.api.errors import StatusError
from common.runtime.rng import SystemRng
from master.apiserver.registry.duplex import Piece
from master.nodes.session import CHANNELS, QUEUE_MAX, SENT_MAX_BYTES, WINDOW, Session
from master.nodes.sessions import SESSIONS_MAX, NodeSessions
from protos.node_v1_pb2 import LogRequest, SessionFrame

TURNS = 10


@pytest.fixture
def sessions() -> NodeSessions:
    """With a node that opens no stream."""
    made = NodeSessions(rng=SystemRng())
    made.node_connected("n1", asyncio.Queue())
    return made


@pytest.fixture
def session() -> Session:
    return Session("s1", "n1", endless=True)


async def turns() -> None:
    """Whatever can go on without anybody else does so."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def opened(sessions: NodeSessions, *, endless: bool = True) -> AbstractAsyncContextManager[Session]:
    return sessions.session("n1", endless=endless, log=LogRequest())


async def read(sessions: NodeSessions, *, endless: bool = True) -> Piece | None:
    """The first piece of a new session."""
    async with opened(sessions, endless=endless) as session:
        return await session.receive()


async def test_a_reader_who_goes_while_the_node_is_asked_leaves_no_session(
    sessions: NodeSessions,
) -> None:
    for _ in range(SESSIONS_MAX + 1):
        reading = asyncio.create_task(read(sessions))
        await turns()
        assert not reading.done(), "it would be refused for those before it"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_node_has_so_many_sessions_and_no_more(sessions: NodeSessions) -> None:
    readings = [asyncio.create_task(read(sessions)) for _ in range(SESSIONS_MAX)]
    await turns()
    with pytest.raises(StatusError) as raised:
        await read(sessions)
    assert raised.value.code == 429
    for reading in readings:
        reading.cancel()
    await asyncio.gather(*readings, return_exceptions=True)


async def test_a_node_that_is_not_connected_cannot_be_asked() -> None:
    with pytest.raises(StatusError, match="node n1 is not connected"):
        await read(NodeSessions(rng=SystemRng()))


async def test_a_node_that_takes_nothing_is_waited_for_no_longer_than_one_that_does_nothing(
    sessions: NodeSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.nodes.sessions.OPEN_TIMEOUT_SECONDS", 0)
    stuck: asyncio.Queue[Any] = asyncio.Queue(1)
    stuck.put_nowait("before")
    sessions.node_connected("n1", stuck)
    async with asyncio.timeout(10.0):
        with pytest.raises(StatusError, match="did not open the stream in time"):
            await read(sessions)


async def test_only_its_own_node_opens_a_session_and_only_once(sessions: NodeSessions) -> None:
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    sessions.node_connected("n1", outbox)
    reading = asyncio.create_task(read(sessions))
    token = (await outbox.get()).session.id
    assert sessions.claim(token, "n2") is None
    assert sessions.claim(token, "n1") is not None
    assert sessions.claim(token, "n1") is None
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert sessions.claim(token, "n1") is None


async def test_what_is_endless_ends_when_the_master_stops_and_others_go_on() -> None:
    sessions = NodeSessions(rng=SystemRng())
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    sessions.node_connected("n1", outbox)
    reading = [asyncio.create_task(read(sessions, endless=endless)) for endless in (True, False)]
    claimed = [sessions.claim((await outbox.get()).session.id, "n1") for _ in reading]
    sessions.stop()
    with pytest.raises(StatusError, match="the master is stopping"):
        await reading[0]
    last = claimed[1]
    assert last is not None
    await last.pump(frames(1))
    assert await reading[1] == Piece(0, b"0")
    with pytest.raises(StatusError, match="the master is stopping"):
        await read(sessions)


async def frames(count: int, *, broken: bool = False) -> AsyncIterator[Any]:
    """What a node sends; its end follows at once."""
    for number in range(count):
        yield SessionFrame(data=str(number).encode())
    if broken:
        raise ConnectionError("the stream has broken")


async def test_a_slow_reader_gets_every_frame(session: Session) -> None:
    pumping = asyncio.create_task(session.pump(frames(50)))
    seen = []
    for _ in range(50):
        piece = await session.receive()
        assert piece is not None
        seen.append(int(piece.data))
        await turns()
    await pumping
    assert seen == list(range(50))


async def test_a_node_that_sends_more_than_is_read_waits(session: Session) -> None:
    pumping = asyncio.create_task(session.pump(frames(50)))
    await turns()
    seen = 0
    pumping.cancel()
    await asyncio.gather(pumping, return_exceptions=True)
    with pytest.raises(StatusError, match="has ended"):
        while await session.receive() is not None:
            seen += 1
    assert seen < QUEUE_MAX


async def test_a_broken_stream_ends_for_a_reader_who_is_behind(session: Session) -> None:
    pumping = asyncio.create_task(session.pump(frames(QUEUE_MAX, broken=True)))
    await asyncio.gather(pumping, return_exceptions=True)
    for _ in range(QUEUE_MAX - 1):
        await session.receive()
    with pytest.raises(StatusError, match="the stream from node n1 has ended"):
        await session.receive()


async def one(*sent: SessionFrame) -> AsyncIterator[Any]:
    for frame in sent:
        yield frame


async def test_the_last_frame_tells_how_a_command_has_ended(session: Session) -> None:
    await session.pump(one(SessionFrame(data=b"x", channel=2), SessionFrame(end=True, exit_code=7)))
    assert await session.receive() == Piece(2, b"x")
    assert await session.receive() is None
    assert session.exit_code == 7


async def test_the_last_data_may_come_with_the_end(session: Session) -> None:
    await session.pump(one(SessionFrame(data=b"x", channel=1, end=True, exit_code=7)))
    assert await session.receive() == Piece(1, b"x")
    assert await session.receive() is None
    assert session.exit_code == 7


@pytest.mark.parametrize("channel", [-1, CHANNELS])
async def test_a_channel_that_there_is_not_ends_the_session(session: Session, channel: int) -> None:
    await session.pump(one(SessionFrame(data=b"x", channel=channel)))
    with pytest.raises(StatusError) as raised:
        await session.receive()
    assert raised.value.code == 502


async def sent_so_far(session: Session) -> list[SessionFrame]:
    """What the node is sent now."""
    sent: list[SessionFrame] = []

    async def collect() -> None:
        async for frame in session.outgoing():
            sent.append(frame)

    collecting = asyncio.create_task(collect())
    await turns()
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    return sent


async def test_no_more_is_sent_than_the_node_has_room_for(session: Session) -> None:
    data = b"x" * (SENT_MAX_BYTES * (WINDOW + 2) - 1)
    sending = asyncio.create_task(session.send(data))
    await turns()
    assert [len(frame.data) for frame in await sent_so_far(session)] == [SENT_MAX_BYTES] * WINDOW
    assert not sending.done()
    await session.pump(one(SessionFrame(taken=1)))
    await turns()
    assert not sending.done()
    await session.pump(one(SessionFrame(taken=1)))
    await sending
    rest = await sent_so_far(session)
    assert [len(frame.data) for frame in rest] == [SENT_MAX_BYTES, SENT_MAX_BYTES - 1]


async def test_a_node_that_counts_more_than_it_was_sent_gets_no_larger_window(
    session: Session,
) -> None:
    await session.send(b"x")
    await session.pump(one(SessionFrame(taken=1_000_000)))
    sending = asyncio.create_task(session.send(b"x" * (SENT_MAX_BYTES * (WINDOW + 1))))
    await turns()
    assert not sending.done()
    sending.cancel()


async def test_a_closed_channel_and_the_last_size_are_told_once(session: Session) -> None:
    for width in range(1, 100):
        session.resize(width, 24)
        session.close()
    size, closed = await sent_so_far(session)
    assert (size.size.width, size.size.height) == (99, 24)
    assert closed == SessionFrame(close=True)


async def test_what_was_sent_before_a_channel_is_closed_comes_first(session: Session) -> None:
    await session.send(b"x")
    session.close()
    assert await sent_so_far(session) == [SessionFrame(data=b"x"), SessionFrame(close=True)]


async def test_nothing_more_is_sent_once_the_session_is_over(session: Session) -> None:
    collecting = asyncio.create_task(anext(session.outgoing(), None))
    await turns()
    session.over()
    assert await collecting is None


async def test_nothing_is_sent_on_a_channel_that_was_closed(session: Session) -> None:
    """The node would write to a process whose input it has closed."""
    session.close()
    await session.send(b"late")
    assert await sent_so_far(session) == [SessionFrame(close=True)]
