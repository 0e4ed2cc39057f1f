"""A log on its way to a master over gRPC: its reader on the node ends when the session does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any

import grpc.aio
import pytest

from common.api import errors
from node.session.channels import STDOUT, TAKEN_AT_ONCE, Channels
from node.session.sessions import Sessions
from protos import node_v1_pb2, node_v1_pb2_grpc

WAIT_SECONDS = 10.0
Frame = node_v1_pb2.SessionFrame
LOG = node_v1_pb2.LogRequest()
Open = Callable[[node_v1_pb2.OpenSession], None]


class Master(node_v1_pb2_grpc.NodeServiceServicer):
    """Takes sessions; ends them when and as a test says."""

    def __init__(self) -> None:
        self.heard: list[Frame] = []
        self.enough = asyncio.Event()
        self.failure = ""
        self.whole = asyncio.Event()
        self.say: list[Frame] = []

    async def Session(self, request_iterator: Any, context: Any) -> AsyncIterator[Frame]:
        """One session, to its end or until there is enough."""
        reading = asyncio.create_task(self._read(request_iterator))
        for frame in self.say:
            yield frame
        enough = asyncio.create_task(self.enough.wait())
        await asyncio.wait({reading, enough}, return_when=asyncio.FIRST_COMPLETED)
        enough.cancel()
        reading.cancel()
        if self.failure:
            await context.abort(grpc.StatusCode.UNAVAILABLE, self.failure)
        yield Frame(end=True)

    async def _read(self, frames: Any) -> None:
        async for frame in frames:
            self.heard.append(frame)
        self.whole.set()


class Log:
    """A log that says something, and then is followed for ever unless it is `whole`."""

    def __init__(self) -> None:
        self.whole = False
        self.error: errors.StatusError | None = None
        self.said = asyncio.Event()
        self.closed = asyncio.Event()

    async def serve(self, request: node_v1_pb2.LogRequest, channels: Channels) -> int:
        """Send its bytes."""
        try:
            if self.error is not None:
                raise self.error
            await channels.send(b"hello\n")
            self.said.set()
            if not self.whole:
                await asyncio.Event().wait()
            return 0
        finally:
            self.closed.set()


async def echo(request: node_v1_pb2.ExecRequest, channels: Channels) -> int:
    """A command that says what it is told, until that ends; its exit code is how often."""
    count = 0
    while (frame := await channels.receive()) is not None and not frame.close:
        await channels.send(frame.data, STDOUT)
        count += 1
    return count


@pytest.fixture
async def master() -> Master:
    return Master()


@pytest.fixture
async def log() -> Log:
    return Log()


@pytest.fixture
async def open_session(master: Master, log: Log) -> AsyncIterator[Open]:
    """Begins a session of a node, on a channel to the master."""
    server = grpc.aio.server()
    node_v1_pb2_grpc.add_NodeServiceServicer_to_server(master, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = node_v1_pb2_grpc.NodeServiceStub(channel)
        made = Sessions({"log": log.serve, "exec": echo})
        yield lambda request: made.open(request, nullcontext(stub))
    await server.stop(None)


async def until(event: asyncio.Event) -> None:
    """Wait for it."""
    async with asyncio.timeout(WAIT_SECONDS):
        await event.wait()


async def test_a_log_is_sent_whole_and_then_its_end(
    master: Master, log: Log, open_session: Open
) -> None:
    log.whole = True
    open_session(node_v1_pb2.OpenSession(id="s1", log=LOG))
    await until(master.whole)
    assert master.heard == [Frame(id="s1"), Frame(data=b"hello\n"), Frame(end=True)]


async def test_a_log_that_is_not_there_is_told(
    master: Master, log: Log, open_session: Open
) -> None:
    log.error = errors.StatusError(404, "NotFound", "no such log")
    open_session(node_v1_pb2.OpenSession(id="s1", log=LOG))
    await until(master.whole)
    assert b"no such log" in master.heard[-1].error


@pytest.mark.parametrize("failure", ["", "the master goes"])
async def test_the_reader_of_a_followed_log_ends_with_its_session(
    master: Master, log: Log, open_session: Open, failure: str
) -> None:
    open_session(node_v1_pb2.OpenSession(id="s1", log=LOG))
    await until(log.said)
    master.failure = failure
    master.enough.set()
    await until(log.closed)


async def test_what_the_master_sends_is_worked_on_and_counted(
    master: Master, open_session: Open
) -> None:
    master.say = [Frame(data=b"%d" % number) for number in range(2 * TAKEN_AT_ONCE)]
    master.say.append(Frame(close=True))
    open_session(node_v1_pb2.OpenSession(id="s1", exec=node_v1_pb2.ExecRequest()))
    await until(master.whole)
    said = [frame.data for frame in master.heard if frame.data]
    assert said == [b"%d" % number for number in range(2 * TAKEN_AT_ONCE)]
    assert sum(frame.taken for frame in master.heard) == 2 * TAKEN_AT_ONCE
    assert master.heard[-1] == Frame(end=True, exit_code=2 * TAKEN_AT_ONCE)


async def test_a_session_of_a_kind_that_the_node_does_not_know_is_refused(
    master: Master, open_session: Open
) -> None:
    open_session(node_v1_pb2.OpenSession(id="s1"))
    await until(master.whole)
    assert b"this node is too old for that" in master.heard[-1].error


class BrokenCall:
    """A call that breaks when something is written on it after the first frame."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self._broken = asyncio.Event()
        self._has_begun = False

    def Session(self) -> "BrokenCall":
        """The stub's own."""
        return self

    def __aiter__(self) -> "BrokenCall":
        return self

    async def __anext__(self) -> Frame:
        await self._broken.wait()
        raise self._error()

    async def write(self, _: Frame) -> None:
        """Once."""
        if self._has_begun:
            self._broken.set()
            raise self._error()
        self._has_begun = True

    def cancel(self) -> None:
        """It is over."""
        self.cancelled.set()

    def _error(self) -> Exception:
        nothing = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "it broke")


async def in_tasks(request: node_v1_pb2.ExecRequest, channels: Channels) -> int:
    """A command whose directions are tasks of a group, as those of a connection to a port."""
    async with asyncio.TaskGroup() as group:
        group.create_task(channels.send(b"x"))
        group.create_task(channels.receive())
    return 0


async def test_a_call_that_breaks_under_a_group_of_tasks_is_no_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    call = BrokenCall()
    request = node_v1_pb2.OpenSession(id="s1", exec=node_v1_pb2.ExecRequest())
    Sessions({"exec": in_tasks}).open(request, nullcontext(call))
    await until(call.cancelled)
    assert [record.message for record in caplog.records] == ["session ended"]


class Saying:
    """A call on which a master says something, and then nothing more."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = iter(frames)

    def __aiter__(self) -> "Saying":
        return self

    async def __anext__(self) -> Frame:
        frame = next(self._frames, None)
        if frame is None:
            raise StopAsyncIteration
        return frame


async def test_of_sizes_that_nobody_has_taken_yet_the_last_one_counts() -> None:
    sizes = [Frame(size=node_v1_pb2.TerminalSize(width=w, height=9)) for w in range(1, 1001)]
    between, last = Frame(data=b"x"), Frame(channel=0, close=True)
    channels = Channels(Saying([*sizes, between, *sizes[:7], last]))
    await channels.pump()
    seen = [await channels.receive() for _ in range(4)]
    assert seen == [sizes[6], between, last, None]
