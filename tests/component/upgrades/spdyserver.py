"""A server of aiohttp whose requests go on in SPDY, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from common.api.errors import StatusError
from master.apiserver.rest.server import status_response
from tests.fakes.spdyclient import Data, Frame, SpdyClient

SECONDS = 10.0
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client(SpdyClient):
    """A connection that has been upgraded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader = reader
        self.writer = writer
        self.heard: list[Frame] = []

    def opens(self, *types: str, **headers: str) -> list[int]:
        """Open streams of these types; their ids."""
        first = self._next_id
        for one in types:
            self.writer.write(self.open({"streamtype": one, **headers}))
        return list(range(first, self._next_id, 2))

    async def until(self, condition: Callable[[list[Frame]], bool]) -> None:
        """Read until what was heard is as wanted, or until the end."""
        async with asyncio.timeout(SECONDS):
            while not condition(self.heard):
                received = await self._reader.read(1 << 16)
                if not received:
                    assert condition(self.heard), self.heard
                self.heard += self.receive(received)

    def data(self, stream_id: int) -> bytes:
        """All data of a stream that was heard."""
        return b"".join(
            one.data for one in self.heard if isinstance(one, Data) and one.stream_id == stream_id
        )

    def has_ended(self, stream_id: int) -> bool:
        """Whether the server has said that nothing more comes on a stream."""
        return any(
            one.fin for one in self.heard if isinstance(one, Data) and one.stream_id == stream_id
        )


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[TestServer]:
    """A server that answers every request so; errors are Statuses."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except StatusError as error:
            return status_response(error)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app, handler_cancellation=True) as server:
        yield server


@asynccontextmanager
async def connected(server: TestServer, protocol: str) -> AsyncIterator[tuple[str, Client]]:
    """(the head of the server's answer, a client) of a request for SPDY."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        b"X-Stream-Protocol-Version: %b\r\nContent-Length: 0\r\n\r\n" % protocol.encode()
    )
    try:
        async with asyncio.timeout(SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        yield head, Client(reader, writer)
    finally:
        writer.close()
