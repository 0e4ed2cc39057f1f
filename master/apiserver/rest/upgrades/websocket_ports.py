"""port-forward on the channels of a WebSocket, as Kubernetes' Python client asks for it.

A connection for each port of the query: of the n-th, channel 2n carries data both ways, and 2n+1
the text of what went wrong. The first message of each is its port in two bytes, the lower first.
The WebSocket is closed when all connections have ended.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import WSMsgType, web

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.auth.live import ending
from master.apiserver.registry.duplex import Dial, Duplex
from master.apiserver.rest.upgrades.websocket_channels import WebSocketChannels

PORTS_MAX = 16


class _Input:
    """What the client sends to one port: a message waits, and holds the client back."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._is_over = False

    async def put(self, data: bytes) -> None:
        if not self._is_over:
            await self._waiting.put(data)

    async def get(self) -> bytes:
        return await self._waiting.get()

    def over(self) -> None:
        """Nobody takes any more: what comes is dropped, and holds up no other port."""
        self._is_over = True
        while not self._waiting.empty():
            self._waiting.get_nowait()


async def answer(
    request: web.Request, protocol: str, dial: Dial, asked: list[str]
) -> web.StreamResponse:
    """Connect to the ports that are asked for; raises StatusError 400 for what are none."""
    ports = _ports(asked)
    async with WebSocketChannels.switch(request, protocol) as client:
        with suppress(StatusError), ending():  # of a right that was lost nobody can be told
            await _serve(client, ports, dial)
        return client.response


async def _serve(client: WebSocketChannels, ports: Sequence[int], dial: Dial) -> None:
    """Until the client has left, or all connections have ended."""
    inputs = [_Input() for _ in ports]
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(_listen(client, inputs))
        connections = [
            group.create_task(_connect(client, number, port, inputs[number], dial))
            for number, port in enumerate(ports)
        ]
        ended = group.create_task(asyncio.wait(connections))
        await asyncio.wait((listening, ended), return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, ended, *connections):
            task.cancel()


async def _listen(client: WebSocketChannels, inputs: Sequence[_Input]) -> None:
    """What the client sends, until it leaves."""
    async for message in client.socket:
        data = message.data if message.type is WSMsgType.BINARY else b""
        if data and data[0] % 2 == 0 and data[0] // 2 < len(inputs):
            await inputs[data[0] // 2].put(data[1:])


def _ports(asked: list[str]) -> list[int]:
    """The ports of a query: numbers, one a parameter or with commas between them."""
    words = [word for text in asked for word in text.split(",")]
    if not words or len(words) > PORTS_MAX:
        raise errors.bad_request(f"ports must name 1 to {PORTS_MAX} ports")
    if not all(word.isascii() and word.isdecimal() and 0 < int(word) < 1 << 16 for word in words):
        raise errors.bad_request("ports must be numbers from 1 to 65535")
    return [int(word) for word in words]


async def _connect(
    client: WebSocketChannels, number: int, port: int, coming: _Input, dial: Dial
) -> None:
    """One connection; what goes wrong with it ends no other."""
    data, failed = 2 * number, 2 * number + 1
    mark = struct.pack("<H", port)
    with suppress(ConnectionError):  # the client has left, which its messages will tell
        try:
            await client.send(data, mark)
            await client.send(failed, mark)
            async with dial(port) as duplex:
                await _join(client, data, coming, duplex)
        except StatusError as error:
            await client.send(failed, error.message.encode())
        finally:
            coming.over()


async def _join(client: WebSocketChannels, channel: int, coming: _Input, duplex: Duplex) -> None:
    """Pass everything on, both ways, until the pod's side has ended."""

    async def send() -> None:
        while True:
            await duplex.send(await coming.get())

    sending = asyncio.create_task(send())
    try:
        while (piece := await duplex.receive()) is not None and not piece.closed:
            await client.send(channel, piece.data)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
