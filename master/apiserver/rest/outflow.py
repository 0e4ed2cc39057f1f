"""How answers leave: in pieces, no faster than the client reads, and never all of it in memory.

An answer that is sent whole lies in the connection's buffer until it is read, a copy for each
client. Here a client that does not read holds two pieces and references to bytes that the watch
cache has anyway, or had until the objects changed: these are counted (`common.limits.unread`). One
that reads nothing for a while is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext

from aiohttp import web

from common.limits.unread import Holding

PIECE_BYTES = 32 << 10
STALL_SECONDS = 60.0
"""A client that takes no piece for so long is cut off."""
PAUSE_SECONDS = 600.0
"""So is one of a stream that people read, who may have paused it."""
PING_SECONDS = 30.0
"""How often a client of an upgraded connection is pinged. It is not waited for: where its input is
held back, so is what it answers. But the network refuses what comes for somebody who has left, and
of that we learn although nothing of theirs is read, the end of the connection neither."""
UNREAD_MAX_BYTES = 256 << 20
"""What all clients together may leave unread of objects; see `common.limits.unread`."""


async def write(
    request: web.Request,
    response: web.StreamResponse,
    data: bytes,
    *,
    holding: Holding | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Send bytes piece by piece; the holding is told when it is the client's turn.

    Raises ConnectionResetError when the client is gone or stuck.
    """
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        with holding.turn() if holding is not None else nullcontext():
            await _write_piece(request, response, view[start : start + PIECE_BYTES], stall_seconds)
        if len(view) > PIECE_BYTES:
            await asyncio.sleep(0)


async def _write_piece(
    request: web.Request,
    response: web.StreamResponse,
    piece: bytes | memoryview,
    stall_seconds: float,
) -> None:
    """The client's turn: a write returns at once while its connection takes more."""
    try:
        async with asyncio.timeout(stall_seconds):
            await response.write(piece)
    except TimeoutError as error:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read") from error


def batches(parts: Iterable[bytes]) -> Iterable[bytes]:
    """The same bytes in batches of a piece or so; a part is never divided."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


async def send(
    request: web.Request, response: web.StreamResponse, parts: Iterable[bytes], holding: Holding
) -> web.StreamResponse:
    """A whole answer, rendered as it is sent, with a turn for others after each piece.

    The holding has what the answer is made of.
    """
    await response.prepare(request)
    try:
        for batch in batches(parts):
            await write(request, response, batch, holding=holding)
            await asyncio.sleep(0)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client has gone, or was cut off
    return response


async def paced(
    request: web.Request, response: web.StreamResponse, holding: Holding
) -> web.StreamResponse:
    """An answer that is ready, sent no faster than it is read if it is large."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= PIECE_BYTES or request.method == "HEAD":
        return response
    made = web.StreamResponse(status=response.status, headers=response.headers)
    made.content_length = len(body)
    holding.add([body])
    return await send(request, made, [body], holding)
