"""The limits of gRPC calls: who is read when, and what a caller may leave unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from master.apiserver.rpc import calllimits
from master.apiserver.rpc.calllimits import Account, CallLimiter

Code = grpc.StatusCode


class World:
    """A service of four methods with limits, and a client whose name is in its metadata."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.release = asyncio.Event()
        self.limits = CallLimiter(self._who)
        self.channel: grpc.aio.Channel

    @staticmethod
    def _who(context: Any) -> Account:
        name = dict(context.invocation_metadata()).get("name", "")
        return Account(name or "10.0.0.1", known=bool(name), unbounded=name == "admin")

    async def echo(self, request: BytesValue, context: Any) -> BytesValue:
        self.heard.append(request.value)
        return request

    async def wait(self, request: BytesValue, context: Any) -> AsyncIterator[BytesValue]:
        self.heard.append(request.value)
        yield request
        await self.release.wait()

    async def write(self, requests: AsyncIterator[BytesValue], context: Any) -> None:
        async for request in requests:
            await context.write(request)

    async def large(self, request: BytesValue, context: Any) -> BytesValue:
        return BytesValue(value=bytes(int(request.value)))

    def handlers(self) -> grpc.GenericRpcHandler:
        coders = BytesValue.FromString, BytesValue.SerializeToString
        return grpc.method_handlers_generic_handler(
            "t",
            {
                "echo": grpc.unary_unary_rpc_method_handler(self.echo, *coders),
                "wait": grpc.unary_stream_rpc_method_handler(self.wait, *coders),
                "write": grpc.stream_stream_rpc_method_handler(self.write, *coders),
                "large": grpc.unary_unary_rpc_method_handler(self.large, *coders),
            },
        )

    def call(self, kind: str, method: str, *request: Any, name: str = "") -> Any:
        """A call of a method, by a name."""
        coders = BytesValue.SerializeToString, BytesValue.FromString
        made = getattr(self.channel, kind)(f"/t/{method}", *coders)
        return made(*request, metadata=(("name", name),) if name else None, timeout=20)

    def echoed(self, data: bytes, name: str = "") -> Any:
        """A call of the method that answers what it is asked."""
        return self.call("unary_unary", "echo", BytesValue(value=data), name=name)

    async def silent(self, name: str) -> Any:
        """A call whose request does not come."""
        call = self.call("stream_unary", "echo", name=name)
        await call.wait_for_connection()
        return call


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    server = grpc.aio.server(interceptors=[made.limits])
    server.add_generic_rpc_handlers((made.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as made.channel:
        yield made
    await server.stop(None)


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


async def test_every_kind_of_method_answers_as_without_a_door(world: World) -> None:
    assert (await world.echoed(b"x")).value == b"x"
    stream = world.call("unary_stream", "wait", BytesValue(value=b"y"))
    assert (await stream.read()).value == b"y"
    world.release.set()
    assert await stream.read() is grpc.aio.EOF

    async def words() -> AsyncIterator[BytesValue]:
        for word in (b"a", b"b"):
            yield BytesValue(value=word)

    both = world.call("stream_stream", "write", words())
    assert [answer.value async for answer in both] == [b"a", b"b"]
    assert not world.limits._accounts, "nothing is kept for those who have left"


async def test_unknown_methods_stay_unknown(world: World) -> None:
    assert await code_of(world.call("unary_unary", "no", BytesValue())) == Code.UNIMPLEMENTED


async def test_who_says_nothing_keeps_none_but_itself_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [await world.silent("mallory") for _ in range(calllimits.READING_OF_A_CALLER_MAX)]
    async with asyncio.timeout(20):
        while sum(account.calls for account in world.limits._accounts.values()) < len(silent):
            await asyncio.sleep(0.01)
    assert (await world.echoed(b"mine", "alice")).value == b"mine"
    waiting = asyncio.ensure_future(world.echoed(b"late", "mallory"))
    await world.echoed(b"again", "alice")
    assert not waiting.done()
    silent[0].cancel()
    assert (await waiting).value == b"late"
    for call in silent:
        call.cancel()


async def test_strangers_do_not_take_the_turns_of_the_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calllimits, "READING_OF_A_CALLER_MAX", calllimits.READING_MAX)
    silent = [await world.silent("") for _ in range(calllimits.READING_MAX)]
    assert (await world.echoed(b"mine", "alice")).value == b"mine"
    for call in silent:
        call.cancel()


async def test_a_request_that_does_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calllimits, "READ_SECONDS", 0.1)
    assert await code_of(await world.silent("alice")) == Code.DEADLINE_EXCEEDED
    empty = world.call("stream_unary", "echo", name="alice")
    await empty.done_writing()
    assert await code_of(empty) == Code.INVALID_ARGUMENT


async def test_a_caller_has_so_many_calls_and_an_administrator_any_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calllimits, "CALLS_OF_A_CALLER_MAX", 3)
    for name, then in (("mallory", Code.RESOURCE_EXHAUSTED), ("admin", Code.OK)):
        streams = [
            world.call("unary_stream", "wait", BytesValue(value=b"y"), name=name) for _ in range(3)
        ]
        for stream in streams:
            await stream.read()
        assert await code_of(world.echoed(b"more", name)) == then
        assert await code_of(world.echoed(b"other", "alice")) == Code.OK
        for stream in streams:
            stream.cancel()


async def test_unread_answers_are_counted_until_they_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calllimits, "UNREAD_OF_A_CALLER_MAX_BYTES", 10 << 20)
    asked = BytesValue(value=b"%d" % (8 << 20))
    assert len((await world.call("unary_unary", "large", asked, name="mallory")).value) == 8 << 20
    async with asyncio.timeout(20):  # what has been read counts no more
        while world.limits._accounts:
            await asyncio.sleep(0.01)
    account = world.limits._accounts.setdefault(
        Account("mallory", True, False), calllimits._InUse()
    )
    account.unread_bytes = 5 << 20
    refused = world.call("unary_unary", "large", asked, name="mallory")
    assert await code_of(refused) == Code.RESOURCE_EXHAUSTED
    assert await code_of(world.echoed(b"small", "mallory")) == Code.OK
    account.unread_bytes = 11 << 20
    assert await code_of(world.echoed(b"small", "mallory")) == Code.RESOURCE_EXHAUSTED
    assert await code_of(world.call("unary_unary", "large", asked, name="alice")) == Code.OK


async def test_what_is_no_message_is_refused_before_the_method_hears_it(world: World) -> None:
    single = world.channel.unary_unary("/t/echo")(b"\xff\xff", timeout=20)
    stream = world.channel.unary_stream("/t/wait")(b"\xff\xff", timeout=20)
    for answer in (single, stream.read()):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answer
        assert refused.value.code() == Code.INVALID_ARGUMENT
    assert world.heard == []


async def test_what_is_no_message_ends_a_stream_after_what_came_before(world: World) -> None:
    good = BytesValue(value=b"x").SerializeToString()
    call = world.channel.stream_stream("/t/write")(timeout=20)
    await call.write(good)
    assert await call.read() == good
    await call.write(b"\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() == Code.INVALID_ARGUMENT
