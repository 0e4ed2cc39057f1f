"""port-forward over HTTP: connections to ports of a pod, many on one connection of the client's.

    SPDY, alone or inside of a WebSocket   two streams a connection: `data`, and `error` for the
                                           text of what went wrong; both name `requestid` and `port`
    WebSocket                              websocket_ports.py

Source: k8s.io/kubernetes kubelet/server/portforward; KEP-4006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.auth.live import ending
from master.apiserver.registry.duplex import Dial, Duplex
from master.apiserver.rest.upgrades import negotiation, websocket_ports
from master.apiserver.rest.upgrades.negotiation import SPDY, STREAM_PROTOCOL_HEADER
from master.apiserver.rest.upgrades.pipes import Pipe, SwitchedPipe, WebSocketPipe
from master.apiserver.rest.upgrades.spdystreams import Stream, serve
from master.apiserver.rest.upgrades.websocket_channels import V4

PORT_FORWARD = "portforward.k8s.io"
TUNNEL = f"{SPDY}+{PORT_FORWARD}"
HALVES_MAX = 64
"""Connections of which but one stream has come."""


async def answer(request: web.Request, dial: Dial, ports: list[str]) -> web.StreamResponse:
    """Connect for a client that asks for SPDY or for a WebSocket; raises StatusError to others."""
    if negotiation.wants_spdy(request.headers):
        protocol = negotiation.stream_protocol(request.headers, (PORT_FORWARD,))
        pipe: Pipe = await SwitchedPipe.switch(request, SPDY, {STREAM_PROTOCOL_HEADER: protocol})
        return await _tunnel(pipe, dial)
    if not negotiation.wants_websocket(request.headers):
        raise errors.bad_request("Upgrade request required")
    accepted = (TUNNEL, V4, PORT_FORWARD)
    protocol = negotiation.websocket_protocol(request.headers, accepted)
    if protocol == TUNNEL:
        return await _tunnel(await WebSocketPipe.switch(request, protocol), dial)
    return await websocket_ports.answer(request, protocol, dial, ports)


async def _tunnel(pipe: Pipe, dial: Dial) -> web.StreamResponse:
    """Connect whenever the client opens another pair of streams, until it leaves."""
    halves: dict[str, Stream] = {}
    tasks: set[asyncio.Task[None]] = set()
    with suppress(StatusError), ending():  # of a right that was lost nobody can be told
        async with serve(pipe) as connection, asyncio.TaskGroup() as group:
            async for stream in connection:
                request_id = stream.headers.get("requestid", "")
                other = halves.pop(request_id, None)
                if other is not None:
                    task = group.create_task(_connect((stream, other), dial))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                elif len(halves) < HALVES_MAX:
                    halves[request_id] = stream
                else:
                    stream.reset()
            for task in tasks:
                task.cancel()
    return pipe.response


async def _connect(pair: Sequence[Stream], dial: Dial) -> None:
    """One connection; what goes wrong with it ends no other."""
    by_type = {stream.headers.get("streamtype", ""): stream for stream in pair}
    if by_type.keys() != {"data", "error"}:
        for stream in pair:
            stream.reset()
        return
    data, failed = by_type["data"], by_type["error"]
    failed.ignore()
    with suppress(ConnectionError):  # the client has left, or has given this connection up
        try:
            port = data.headers.get("port", "")
            async with dial(int(port) if port.isdecimal() else 0) as duplex:
                await _join(data, duplex)
        except StatusError as error:
            await failed.write(error.message.encode())
        finally:
            data.ignore()  # the client may go on sending for a while
            failed.close()
            data.close()


async def _join(data: Stream, duplex: Duplex) -> None:
    """Pass everything on, both ways, until the pod's side has ended."""
    sending = asyncio.create_task(_send(data, duplex))
    try:
        while (piece := await duplex.receive()) is not None:
            if piece.data:
                await data.write(piece.data)
            if piece.closed:
                return
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(data: Stream, duplex: Duplex) -> None:
    while sent := await data.read():
        await duplex.send(sent)
    duplex.close()
