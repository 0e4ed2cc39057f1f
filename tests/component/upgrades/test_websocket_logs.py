"""A log over a WebSocket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer

from common.api import errors
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from master.apiserver.registry.handler import Handler
from master.apiserver.request.target import Target
from master.apiserver.rest import streams
from master.apiserver.rest.server import status_response
from master.apiserver.rest.upgrades.websocket_logs import BASE64, BINARY

SECONDS = 10.0
TARGET = Target(SCHEME.require("", "v1", "pods"), "default", "web", "log")


class Log:
    """Says what is put into `says`; None ends it, an error breaks it off."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[bytes | StatusError | None] = asyncio.Queue()
        self.left = asyncio.Event()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """As a handler answers them."""
        try:
            while (said := await self.says.get()) is not None:
                if isinstance(said, StatusError):
                    raise said
                yield said
        finally:
            self.left.set()

    @asynccontextmanager
    async def read(self, *protocols: str) -> AsyncIterator[ClientWebSocketResponse]:
        """A client's end of a WebSocket."""

        async def connect(*_: object) -> AsyncGenerator[bytes, None]:
            return self.pieces()

        registry: Any = SimpleNamespace(handler=lambda _: Handler(), connect=connect)

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await streams.answer(request, TARGET, {}, registry)
            except StatusError as error:
                return status_response(error)

        app = web.Application()
        app.router.add_get("/log", answer)
        async with asyncio.timeout(SECONDS), TestServer(app) as server, ClientSession() as session:
            url = server.make_url("/log")
            async with session.ws_connect(url, protocols=protocols) as socket:
                yield socket


async def said(socket: ClientWebSocketResponse) -> list[tuple[WSMsgType, Any]]:
    """All messages until the server closes."""
    return [(message.type, message.data) async for message in socket]


@pytest.mark.parametrize("protocols", [(BINARY,), (BINARY, BASE64), ("v9", BINARY), ()])
async def test_messages_are_pieces_of_the_log(protocols: tuple[str, ...]) -> None:
    log = Log()
    for piece in (b"one\n", b"\xff\n", None):
        log.says.put_nowait(piece)
    async with log.read(*protocols) as socket:
        assert socket.protocol == (BINARY if protocols else None)
        pieces = await said(socket)
    assert pieces == [(WSMsgType.BINARY, piece) for piece in (b"", b"one\n", b"\xff\n")]
    assert socket.close_code == 1000


async def test_messages_may_be_text() -> None:
    log = Log()
    for piece in (b"\xff\n", None):
        log.says.put_nowait(piece)
    async with log.read(BASE64) as socket:
        pieces = await said(socket)
    text = base64.b64encode(b"\xff\n").decode()
    assert pieces == [(WSMsgType.TEXT, ""), (WSMsgType.TEXT, text)]


async def test_what_breaks_a_log_off_is_said() -> None:
    log = Log()
    log.says.put_nowait(b"one\n")
    log.says.put_nowait(errors.unavailable("the stream from node n1 has ended"))
    async with log.read(BINARY) as socket:
        *_, (_, last) = await said(socket)
    assert last == b"\nthe stream from node n1 has ended\n"


async def test_a_client_that_leaves_ends_a_log_that_is_followed() -> None:
    log = Log()
    log.says.put_nowait(b"one\n")
    async with log.read(BINARY) as socket:
        await socket.receive_bytes()
        await socket.send_str("this is dropped")
        assert await socket.receive_bytes() == b"one\n"
        assert not log.left.is_set()
        await socket.close()
        await log.left.wait()


async def test_what_fails_before_the_first_byte_and_unknown_protocols_are_refused() -> None:
    for problem, protocol, code in ((errors.bad_request("no"), BINARY, 400), (b"", "v9", 400)):
        log = Log()
        log.says.put_nowait(problem)
        with pytest.raises(WSServerHandshakeError) as raised:
            async with log.read(protocol):
                pass
        assert raised.value.status == code
        assert log.left.is_set()
