"""Answers a request with what a program in a pod answers to it.

Bodies pass both ways as they come, no faster than the other side takes them. Redirects are the
client's to follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import h11
from aiohttp import web
from multidict import CIMultiDict

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.registry.duplex import Upstream
from master.apiserver.rest import outflow, requestinfo
from master.apiserver.rest.proxies import heads, wires
from master.apiserver.rest.proxies.exchange import Exchange
from master.apiserver.rest.proxies.heads import Asked
from master.apiserver.rest.proxies.links import LinkRewriter
from master.apiserver.rest.proxies.wires import Wire
from master.apiserver.rest.upgrades.pipes import SwitchedPipe

ANSWER_SECONDS = 600.0
"""From the end of a request to the head of its answer: some programs let a client wait."""


async def answer(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """The program's answer; raises StatusError when it has none."""
    path, question, query = request.raw_path.partition("?")
    prefix, beyond = requestinfo.proxied(path)
    if beyond is None:
        raise errors.unknown_path()  # the path is written in another way, to which no links lead
    is_upgrade = heads.is_upgrade(request.raw_headers)
    if not beyond and request.method in ("GET", "HEAD") and not is_upgrade:
        # The relative links of the program's first page lead on from a directory only.
        return web.Response(status=301, headers={"Location": f"{prefix}/{question}{query}"})
    target = f"{beyond or '/'}{question}{query}"
    source = request.remote or ""
    asked = Asked(request.method, prefix, target, request.raw_headers, source)
    head = heads.request_head(asked, upstream.host)
    async with wires.connected(upstream) as wire:
        return await _Proxying(request, asked, upstream.host, wire).run(head)


class _Proxying:
    def __init__(self, request: web.Request, asked: Asked, host: str, wire: Wire) -> None:
        self._request = request
        self._asked = asked
        self._host = host
        self._exchange = Exchange(wire)
        self._response: web.StreamResponse | None = None

    async def run(self, head: h11.Request) -> web.StreamResponse:
        """Pass the request on, and its answer back; raises StatusError before that has begun."""
        try:
            return await _answering(self._answer, self._send(head))
        except StatusError:
            if self._response is None:
                raise
            # The client must not take for the whole what is only a part.
            _cut_off(self._request)
            return self._response
        except ConnectionError:
            if self._response is None:
                raise
            return self._response  # the client has gone, or was cut off
        except web.RequestPayloadError as error:
            _cut_off(self._request)
            raise ConnectionResetError("the client's body has broken off") from error

    async def _send(self, head: h11.Request) -> None:
        await self._exchange.send(head)
        async for data in self._request.content.iter_any():
            async with _within(outflow.PAUSE_SECONDS, "the pod does not read the request"):
                await self._exchange.send(h11.Data(data=data))
        await self._exchange.send(h11.EndOfMessage())

    async def _answer(self, sent: asyncio.Task[None]) -> web.StreamResponse:
        head = await self._head(sent)
        if isinstance(head, h11.InformationalResponse):
            return await self._switched(head)
        replied = heads.reply_head(head, self._asked, self._host)
        headers = CIMultiDict(replied.headers)
        response = web.StreamResponse(
            status=replied.status, reason=replied.reason or None, headers=headers
        )
        self._response = response
        await response.prepare(self._request)
        pieces = self._exchange.body()
        async for piece in self._page(pieces) if replied.is_page else pieces:
            await outflow.write(self._request, response, piece, stall_seconds=outflow.PAUSE_SECONDS)
        await response.write_eof()
        return response

    async def _head(self, sent: asyncio.Task[None]) -> h11.Response | h11.InformationalResponse:
        loop = asyncio.get_running_loop()
        async with _within(None, "the pod did not answer in time") as limit:

            def begin(_: object) -> None:
                limit.reschedule(loop.time() + ANSWER_SECONDS)

            sent.add_done_callback(begin)
            try:
                return await self._exchange.head()
            finally:
                sent.remove_done_callback(begin)

    async def _page(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A page with its links rewritten; others have their turn after each small piece."""
        own_hosts = [self._host, self._request.headers.get("Host", "")]
        rewriter = LinkRewriter(
            partial(heads.relocated, prefix=self._asked.prefix, own_hosts=own_hosts)
        )
        async for data in pieces:
            for start in range(0, len(data), outflow.PIECE_BYTES):
                yield rewriter.feed(data[start : start + outflow.PIECE_BYTES])
                await asyncio.sleep(0)
        yield rewriter.end()

    async def _switched(self, head: h11.InformationalResponse) -> web.StreamResponse:
        """Another protocol: everything passes both ways, until one side has ended."""
        protocol = self._request.headers["Upgrade"]
        pipe = await SwitchedPipe.switch(self._request, protocol, heads.switched_headers(head))
        self._response = pipe.response
        wire = self._exchange.wire
        if beyond := self._exchange.beyond:
            await pipe.write(beyond)
        listening = asyncio.create_task(_pass(pipe.read, wire.write))
        speaking = asyncio.create_task(_pass(wire.read, pipe.write))
        try:
            await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
            speaking.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)
        return pipe.response


async def _answering(
    answer: Callable[[asyncio.Task[None]], Coroutine[Any, Any, web.StreamResponse]],
    send: Coroutine[Any, Any, None],
) -> web.StreamResponse:
    """What `answer` returns, while a request is sent; an answer may be whole before that is."""
    sending = asyncio.create_task(send)
    answering = asyncio.create_task(answer(sending))
    try:
        done, _ = await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if answering not in done:
            sending.result()
        return await answering
    finally:
        sending.cancel()
        answering.cancel()
        await asyncio.gather(sending, answering, return_exceptions=True)


@asynccontextmanager
async def _within(seconds: float | None, otherwise: str) -> AsyncIterator[asyncio.Timeout]:
    """What takes longer inside of the block raises StatusError 504."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:
        raise errors.timeout(otherwise) from error


async def _pass(
    read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]
) -> None:
    while data := await read():
        await write(data)


def _cut_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
