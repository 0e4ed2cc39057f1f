"""port-forward: many connections on one of the client's, and each fails alone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web

from common.api.errors import StatusError
from master.apiserver.registry.duplex import DATA, Piece
from master.apiserver.rest.upgrades import port_forwards
from master.apiserver.rest.upgrades.port_forwards import HALVES_MAX, PORT_FORWARD
from master.apiserver.rest.upgrades.spdystreams import UNREAD_MAX_BYTES
from master.apiserver.rest.upgrades.websocket_channels import V4
from tests.component.upgrades.spdyserver import SECONDS, Client, connected, serving
from tests.fakes import spdyclient
from tests.fakes.duplex import FakeProcess
from tests.fakes.spdyclient import Control

REFUSED = StatusError(500, "InternalError", "connection refused")


@asynccontextmanager
async def tunnel(program: FakeProcess) -> AsyncIterator[Client]:
    """A client of a pod in which a program listens."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await port_forwards.answer(request, program.dial, [])

    async with serving(answer) as server, connected(server, PORT_FORWARD) as (head, client):
        assert head.startswith("HTTP/1.1 101 ")
        yield client


def connects(client: Client, request_id: int, port: str = "80") -> tuple[int, int]:
    """(error stream, data stream) of one more connection."""
    failed, data = client.opens("error", "data", requestid=str(request_id), port=port)
    return failed, data


async def test_connections_carry_both_ways_until_the_pods_side_ends() -> None:
    program = FakeProcess()
    async with tunnel(program) as client:
        failed, data = connects(client, 0)
        client.writer.write(spdyclient.data(data, b"ask", fin=True))
        async with asyncio.timeout(SECONDS):
            await program.closed.wait()
        assert (program.heard, program.ports) == (b"ask", [80])
        program.says.put_nowait(Piece(DATA, b"answer"))
        program.says.put_nowait(Piece(DATA, b"", closed=True))
        await client.until(lambda _: client.has_ended(data) and client.has_ended(failed))
        assert (client.data(data), client.data(failed)) == (b"answer", b"")


@pytest.mark.parametrize("port", ["80", "x", "", "99999"])
async def test_what_goes_wrong_is_told_and_ends_no_other(port: str) -> None:
    program = FakeProcess()
    program.refusal = REFUSED
    async with tunnel(program) as client:
        failed, data = connects(client, 0, port)
        await client.until(lambda _: client.has_ended(data) and client.has_ended(failed))
        assert client.data(failed) == b"connection refused"
        program.refusal = None
        program.says.put_nowait(Piece(DATA, b"answer"))
        _, later = connects(client, 1)
        await client.until(lambda _: client.data(later) == b"answer")


async def test_a_pair_of_the_same_kind_is_no_connection() -> None:
    program = FakeProcess()
    async with tunnel(program) as client:
        one, two = client.opens("data", "data", requestid="0", port="80")
        resets = {Control(3, (one, 5)), Control(3, (two, 5))}
        await client.until(lambda heard: resets <= set(heard))
    assert program.ports == []


async def test_streams_without_a_partner_are_bounded() -> None:
    async with tunnel(FakeProcess()) as client:
        for number in range(HALVES_MAX + 1):
            [last] = client.opens("error", requestid=str(number), port="80")
        await client.until(lambda heard: Control(3, (last, 5)) in heard)


async def test_what_is_sent_to_a_connection_that_has_ended_holds_up_no_other() -> None:
    program = FakeProcess()
    async with tunnel(program) as client:
        failed, data = connects(client, 0)
        program.says.put_nowait(Piece(DATA, b"", closed=True))
        await client.until(lambda _: client.has_ended(data) and client.has_ended(failed))
        for stream in (data, failed):
            client.writer.write(spdyclient.data(stream, bytes(2 * UNREAD_MAX_BYTES)))
        program.says.put_nowait(Piece(DATA, b"answer"))
        _, later = connects(client, 1)
        await client.until(lambda _: client.data(later) == b"answer")


async def test_connections_end_when_the_client_leaves() -> None:
    program = FakeProcess()
    program.says.put_nowait(Piece(DATA, b"x"))
    async with tunnel(program) as client:
        _, data = connects(client, 0)
        await client.until(lambda _: client.data(data) == b"x")
    async with asyncio.timeout(SECONDS):
        await program.left.wait()


@asynccontextmanager
async def channels(program: FakeProcess, *ports: str) -> AsyncIterator[ClientWebSocketResponse]:
    """A client that asks for ports in its query, as Kubernetes' Python client does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await port_forwards.answer(request, program.dial, list(ports))

    async with (
        asyncio.timeout(SECONDS),
        serving(answer) as server,
        ClientSession() as session,
        session.ws_connect(str(server.make_url("/")), protocols=(V4,)) as socket,
    ):
        yield socket


async def messages(socket: ClientWebSocketResponse) -> list[bytes]:
    """Everything until the server closes."""
    seen = []
    async for message in socket:
        assert message.type is WSMsgType.BINARY
        seen.append(message.data)
    return seen


async def test_a_channel_a_port_begins_with_the_port_and_the_end_of_all_is_the_end() -> None:
    program = FakeProcess()
    async with channels(program, "8080,81") as socket:
        first = [await socket.receive_bytes() for _ in range(4)]
        assert sorted(first) == [b"\0\x90\x1f", b"\1\x90\x1f", b"\2\x51\0", b"\3\x51\0"]
        await socket.send_bytes(b"\2to the second")
        await socket.send_bytes(b"\7to nobody")
        await socket.send_bytes(b"\1no data")
        for _ in program.ports:
            program.says.put_nowait(Piece(DATA, b"hi"))
            program.says.put_nowait(Piece(DATA, b"", closed=True))
        assert {message[1:] for message in await messages(socket)} == {b"hi"}
    assert program.heard in (b"", b"to the second")


class OnlyOnPort81(FakeProcess):
    """A pod in which nothing listens on other ports."""

    def dial(self, port: int) -> AbstractAsyncContextManager[FakeProcess]:
        """Refused at once, or itself."""
        self.refusal = None if port == 81 else REFUSED
        return super().dial(port)


async def test_messages_to_a_port_that_has_failed_hold_up_no_other() -> None:
    program = OnlyOnPort81()
    async with channels(program, "80,81") as socket:
        while await socket.receive_bytes() != b"\1connection refused":
            pass
        for _ in range(8):
            await socket.send_bytes(b"\0to nobody")
        await socket.send_bytes(b"\2to the second")
        async with asyncio.timeout(SECONDS):
            await program.heard_something.wait()
    assert program.heard == b"to the second"


async def test_a_client_that_leaves_its_ports_leaves_no_mistake_in_the_log() -> None:
    program, mistakes = FakeProcess(), []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: mistakes.append(context))
    async with channels(program, "80") as socket:
        assert [await socket.receive_bytes() for _ in range(2)] == [b"\0P\0", b"\1P\0"]
    async with asyncio.timeout(SECONDS):
        await program.left.wait()
    gc.collect()
    await asyncio.sleep(0)
    assert mistakes == []


async def test_an_error_of_a_port_is_on_its_own_channel() -> None:
    program = FakeProcess()
    program.refusal = REFUSED
    async with channels(program, "80") as socket:
        *_, last = await messages(socket)
    assert last == b"\1connection refused"


@pytest.mark.parametrize("ports", [(), ("x",), ("0",), ("65536",), ("80,",), ("80",) * 17])
async def test_ports_that_are_none_are_refused(ports: tuple[str, ...]) -> None:
    with pytest.raises(WSServerHandshakeError) as raised:
        async with channels(FakeProcess(), *ports):
            pass
    assert raised.value.status == 400
