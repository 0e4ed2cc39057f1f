"""Sessions on nodes: none is left behind, and no frame of a log is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.api.errors import StatusError
from common.runtime.rng import SystemRng
from master.apiserver.rpc.nodes import _pump
from master.nodes.sessions import SESSIONS_MAX, LogOptions, NodeSessions
from protos.node_v1_pb2 import SessionFrame
from tests.fakes.clock import FakeClock

LOG = LogOptions("n", "p", "u", "c", True, False, False, -1, 0, 0, 0)


@pytest.fixture
def sessions() -> NodeSessions:
    """With a node that opens no stream."""
    made = NodeSessions(clock=FakeClock(), rng=SystemRng())
    made.node_connected("n1", asyncio.Queue())
    return made


async def test_a_reader_who_goes_while_the_node_is_asked_leaves_no_session(
    sessions: NodeSessions,
) -> None:
    for _ in range(SESSIONS_MAX + 1):
        reading = asyncio.ensure_future(anext(sessions.logs("n1", LOG)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done(), "it would be refused for those before it"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_node_has_so_many_sessions_and_no_more(sessions: NodeSessions) -> None:
    readings = [asyncio.ensure_future(anext(sessions.logs("n1", LOG))) for _ in range(SESSIONS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(StatusError) as raised:
        await anext(sessions.logs("n1", LOG))
    assert raised.value.code == 429
    for reading in readings:
        reading.cancel()
    await asyncio.gather(*readings, return_exceptions=True)


async def test_followed_logs_end_when_the_master_stops_and_others_go_on() -> None:
    sessions = NodeSessions(clock=FakeClock(), rng=SystemRng())
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    sessions.node_connected("n1", outbox)
    followed, finite = (
        sessions.logs("n1", LOG._replace(follow=follow)) for follow in (True, False)
    )
    reading = [asyncio.ensure_future(anext(each)) for each in (followed, finite)]
    claimed = [sessions.claim((await outbox.get()).session.id, "n1") for _ in reading]
    sessions.stop()
    with pytest.raises(StatusError, match="the master is stopping"):
        await reading[0]
    last = claimed[1]
    assert last is not None
    last.frames.put_nowait(SessionFrame(data=b"all", end=True))
    assert await reading[1] == b"all"
    with pytest.raises(StatusError, match="the master is stopping"):
        await anext(sessions.logs("n1", LOG))
    await finite.aclose()


async def frames(count: int, *, broken: bool = False) -> AsyncIterator[Any]:
    """What a node sends; its end follows at once."""
    for number in range(count):
        yield SessionFrame(data=str(number).encode())
    if broken:
        raise ConnectionError("the stream has broken")


async def test_a_slow_reader_gets_every_frame() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(4)
    pumping = asyncio.create_task(_pump(frames(50), queue))
    seen = []
    while (frame := await queue.get()) is not None:
        seen.append(int(frame.data))
        for _ in range(10):
            await asyncio.sleep(0)
    await pumping
    assert seen == list(range(50))


async def test_a_broken_stream_ends_for_a_reader_who_is_behind() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(4)
    pumping = asyncio.create_task(_pump(frames(4, broken=True), queue))
    await asyncio.gather(pumping, return_exceptions=True)
    seen = [await queue.get() for _ in range(4)]
    assert seen[-1] is None
