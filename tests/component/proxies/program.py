"""A program in a pod, and a server that passes requests on to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from aiohttp.test_utils import TestServer

from common.api.errors import StatusError
from master.apiserver.registry.duplex import DATA, Piece, Upstream
from master.apiserver.rest.proxies import proxying
from master.apiserver.rest.server import status_response

HOST = "10.42.0.5:8080"
PREFIX = "/api/v1/namespaces/default/pods/web:8080/proxy"
UNREAD_MAX = 8
"""Pieces that wait on their way from a node, as in a session."""
Script = Callable[["Program"], Awaitable[None]]


class Program:
    """Implements Duplex. What it says is its script's to choose; it is held back as a pod is."""

    exit_code = 0

    def __init__(self, script: Script, *, is_tls: bool = False) -> None:
        self._script = script
        self._is_tls = is_tls
        self._says: asyncio.Queue[Piece | StatusError | None] = asyncio.Queue(UNREAD_MAX)
        self._hears: asyncio.Queue[bytes] = asyncio.Queue(1)
        self.heard = b""
        self.said_bytes = 0
        self.refusal: StatusError | None = None
        self.requests: list[web.Request] = []
        """Those that were passed on."""
        self.left = asyncio.Event()
        """Nobody is connected any more."""

    async def says(self, data: bytes) -> None:
        """Returns when it is on its way."""
        await self._says.put(Piece(DATA, data))
        self.said_bytes += len(data)

    async def ends(self) -> None:
        """Close the connection."""
        await self._says.put(Piece(DATA, b"", closed=True))

    async def breaks(self, error: StatusError) -> None:
        """The node ends the session."""
        await self._says.put(error)

    async def hears(self) -> bytes:
        """The next bytes of the request."""
        data = await self._hears.get()
        self.heard += data
        return data

    async def hears_head(self) -> bytes:
        """All of the request's head."""
        while b"\r\n\r\n" not in self.heard:
            await self.hears()
        return self.heard.partition(b"\r\n\r\n")[0]

    async def receive(self) -> Piece | None:
        """Of Duplex."""
        said = await self._says.get()
        if isinstance(said, StatusError):
            raise said
        return said

    async def send(self, data: bytes, channel: int = DATA) -> None:
        """Of Duplex."""
        await self._hears.put(data)

    def close(self, channel: int = DATA) -> None:
        """Of Duplex."""

    def resize(self, width: int, height: int) -> None:
        """Of Duplex."""

    @property
    def is_held_back(self) -> bool:
        """It has said more than fits on the way, and the client takes no more."""
        return self._says.full() and any(r.protocol.writing_paused for r in self.requests)

    @property
    def holds_back(self) -> bool:
        """It was told more than it has heard, and no more is taken from the client."""
        return self._hears.full() and any(r.protocol._reading_paused for r in self.requests)

    @property
    def upstream(self) -> Upstream:
        """It, as handlers answer it."""
        return Upstream(HOST, self._is_tls, self._dial)

    @asynccontextmanager
    async def _dial(self) -> AsyncIterator[Program]:
        if self.refusal is not None:
            raise self.refusal
        running = asyncio.create_task(self._script(self))
        try:
            yield self
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            self.left.set()


@asynccontextmanager
async def serving(program: Program) -> AsyncIterator[TestServer]:
    """A server that passes everything on, as the API server does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        program.requests.append(request)
        try:
            return await proxying.answer(request, program.upstream)
        except StatusError as error:
            return status_response(error)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server


async def until(condition: Callable[[], bool]) -> None:
    """Come back as soon as it holds."""
    while not condition():
        await asyncio.sleep(0)


async def serve_tls(program: Program, context: ssl.SSLContext, answer: bytes) -> None:
    """The server's side of TLS: one request, one answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    request = b""

    async def flush() -> None:
        if data := outgoing.read():
            await program.says(data)

    async def step(work: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                return work() or b""
            except ssl.SSLWantReadError:
                await flush()
                incoming.write(await program.hears())

    await step(tls.do_handshake)
    while b"\r\n\r\n" not in request:
        request += await step(lambda: tls.read(1 << 16))
    tls.write(answer)
    await flush()
    await program.ends()
