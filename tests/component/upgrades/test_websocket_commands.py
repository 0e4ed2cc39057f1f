"""exec and attach over a WebSocket, as kubectl and the Python client speak it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer

from common.api.errors import StatusError
from master.apiserver.registry.duplex import Piece
from master.apiserver.rest.server import status_response
from master.apiserver.rest.upgrades import remote_commands
from master.apiserver.rest.upgrades.websocket_channels import MESSAGE_MAX_BYTES, V4, V5
from tests.fakes.duplex import STDERR, STDIN, STDOUT, FakeProcess

SECONDS = 10.0
ERROR, RESIZE, CLOSE = 3, 4, 255


class Server:
    """Answers every request with one process."""

    def __init__(self) -> None:
        self.process = FakeProcess()
        self.url = ""
        self.session: ClientSession

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """As the API server does."""
        try:
            return await remote_commands.answer(request, self.process.command)
        except StatusError as error:
            return status_response(error)

    @asynccontextmanager
    async def client(self, *protocols: str) -> AsyncIterator[ClientWebSocketResponse]:
        """A client's end of a WebSocket."""
        async with asyncio.timeout(SECONDS):
            async with self.session.ws_connect(self.url, protocols=protocols or (V5,)) as socket:
                yield socket


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(app) as running, ClientSession() as made.session:
        made.url = str(running.make_url("/exec"))
        yield made


async def said(socket: ClientWebSocketResponse) -> list[tuple[int, bytes]]:
    """(channel, data) of all messages until the server closes."""
    seen = []
    async for message in socket:
        assert message.type is WSMsgType.BINARY
        seen.append((message.data[0], message.data[1:]))
    return seen


async def status(socket: ClientWebSocketResponse) -> dict[str, Any]:
    """How the process has ended: the last message before the server closes."""
    *_, (channel, data) = await said(socket)
    assert channel == ERROR
    assert socket.close_code == 1000
    told: dict[str, Any] = json.loads(data)
    return told


@pytest.mark.parametrize("protocol", [V5, V4])
async def test_input_output_and_success(server: Server, protocol: str) -> None:
    server.process.echoes = True
    async with server.client(protocol) as socket:
        assert socket.protocol == protocol
        await socket.send_bytes(b"\0hello")
        await socket.send_str("\0 as text")
        first, second = await socket.receive_bytes(), await socket.receive_bytes()
        assert (first, second) == (b"\x01hello", b"\x01 as text")
        server.process.ends()
        assert await status(socket) == {"metadata": {}, "status": "Success"}


async def test_an_exit_code_is_a_cause(server: Server) -> None:
    server.process.says.put_nowait(Piece(STDERR, b"oh"))
    server.process.ends(3)
    async with server.client() as socket:
        errors, end = await said(socket)
    assert errors == (STDERR, b"oh")
    told = json.loads(end[1])
    assert (told["status"], told["reason"]) == ("Failure", "NonZeroExitCode")
    assert told["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_the_first_clients_are_told_by_a_text_and_only_what_went_wrong(
    server: Server,
) -> None:
    server.process.says.put_nowait(Piece(STDOUT, b"out"))
    server.process.ends()
    async with server.client("channel.k8s.io") as socket:
        assert await said(socket) == [(STDOUT, b"out")]
    server.process.ends(3)
    async with server.client("channel.k8s.io") as socket:
        text = b"command terminated with non-zero exit code: exit status 3"
        assert await said(socket) == [(ERROR, text)]


async def test_the_end_of_the_input_is_a_message_of_v5_alone(server: Server) -> None:
    async with server.client(V4) as socket:
        await socket.send_bytes(bytes((CLOSE, STDIN)))
        await socket.send_bytes(b"\0x")
        server.process.says.put_nowait(Piece(STDOUT, b"go on"))
        await socket.receive_bytes()
        assert not server.process.closed.is_set()
    async with server.client(V5) as socket:
        await socket.send_bytes(bytes((CLOSE, STDIN)))
        await server.process.closed.wait()


async def test_sizes_are_told_and_what_is_none_is_not(server: Server) -> None:
    async with server.client() as socket:
        for text in (b"", b"{", b"[]", b'{"Width":0,"Height":9}', b'{"Width":70000,"Height":9}'):
            await socket.send_bytes(bytes((RESIZE,)) + text)
        await socket.send_bytes(bytes((RESIZE,)) + b'{"Width":80,"Height":24}\n')
        await server.process.sized.wait()
    assert server.process.sizes == [(80, 24)]


async def test_what_is_for_no_channel_is_dropped(server: Server) -> None:
    server.process.echoes = True
    async with server.client() as socket:
        for data in (b"", b"\x01x", b"\x02x", b"\x03x", b"\x09x", bytes((CLOSE,)), b"\xff\x01"):
            await socket.send_bytes(data)
        await socket.send_bytes(b"\0x")
        assert await socket.receive_bytes() == b"\x01x"
    assert server.process.heard == b"x"


async def test_a_process_whose_client_leaves_is_left(server: Server) -> None:
    async with server.client():
        pass
    async with asyncio.timeout(SECONDS):
        await server.process.left.wait()


async def test_a_message_that_is_too_large_ends_the_session(server: Server) -> None:
    async with server.client() as socket:
        await socket.send_bytes(b"\0" * (MESSAGE_MAX_BYTES + 1))
        assert await said(socket) == []
        assert socket.close_code == 1009
    await server.process.left.wait()


async def test_what_fails_before_there_is_a_websocket_is_a_status(server: Server) -> None:
    server.process.refusal = StatusError(404, "NotFound", "no such container")
    with pytest.raises(WSServerHandshakeError) as raised:
        async with server.client():
            pass
    assert raised.value.status == 404


async def test_what_fails_later_is_told_on_it(server: Server) -> None:
    server.process.says.put_nowait(StatusError(503, "ServiceUnavailable", "the node has gone"))
    async with server.client() as socket:
        told = await status(socket)
    assert (told["code"], told["message"]) == (503, "the node has gone")


async def test_other_clients_are_told_what_is_wrong(server: Server) -> None:
    async with server.session.get(server.url) as response:
        assert response.status == 400
        assert "Upgrade request required" in (await response.json())["message"]
    with pytest.raises(WSServerHandshakeError) as raised:
        async with server.client("v9.channel.k8s.io"):
            pass
    assert raised.value.status == 400
    assert not server.process.left.is_set(), "nothing was run"
