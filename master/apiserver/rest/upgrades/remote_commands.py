"""exec and attach over HTTP: the client's channels are joined with the process's streams.

Source: https://kubernetes.io/docs/reference/using-api/ and KEP-4006.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from aiohttp import web

from common.api import errors
from common.api.errors import StatusError
from master.apiserver.auth.live import ending
from master.apiserver.registry.duplex import Command, CommandOptions, Duplex
from master.apiserver.rest.upgrades import negotiation, outcomes
from master.apiserver.rest.upgrades.outcomes import End
from master.apiserver.rest.upgrades.spdy_channels import SpdyChannels
from master.apiserver.rest.upgrades.websocket_channels import PROTOCOLS, V4, WebSocketChannels


class Client(Protocol):
    """The client's end of the channels."""

    async def send(self, channel: int, data: bytes) -> None:
        """Send data; raises ConnectionError."""
        ...

    async def end(self, how: End) -> None:
        """Tell how the command has ended; raises ConnectionError."""
        ...

    async def pass_on(self, duplex: Duplex) -> None:
        """Everything that the client sends, until it leaves."""
        ...

    @property
    def response(self) -> web.StreamResponse:
        """What the handler of the request returns."""
        ...


async def answer(request: web.Request, command: Command) -> web.StreamResponse:
    """Run a command for a client that asks for a WebSocket or for SPDY.

    What fails before the connection is upgraded is raised as a StatusError; what fails later is
    told on the channel of errors. For any other request nothing is run.
    """
    upgrade = _upgrade(request, command.options)
    async with command.run() as duplex, upgrade as client:
        try:
            with ending():
                await _converse(client, duplex)
        except StatusError as error:
            with suppress(ConnectionError):
                await client.end(outcomes.failed(error))
        return client.response


def _upgrade(
    request: web.Request, options: CommandOptions
) -> AbstractAsyncContextManager[WebSocketChannels | SpdyChannels]:
    """How the channels of a request are had, until the end of a block; raises StatusError 400."""
    if negotiation.wants_websocket(request.headers):
        protocol = negotiation.websocket_protocol(request.headers, PROTOCOLS)
        return WebSocketChannels.switch(request, protocol)
    if negotiation.wants_spdy(request.headers):
        protocol = negotiation.stream_protocol(request.headers, (V4,))
        return SpdyChannels.switch(request, protocol, options)
    raise errors.bad_request("Upgrade request required")


async def _converse(client: Client, duplex: Duplex) -> None:
    """Pass everything on, both ways, until the command has ended or the client has left."""
    speaking = asyncio.create_task(_speak(client, duplex))
    listening = asyncio.create_task(client.pass_on(duplex))
    try:
        done, _ = await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        speaking.cancel()
        listening.cancel()
        await asyncio.gather(speaking, listening, return_exceptions=True)
    with suppress(ConnectionError):  # the client has left, or was cut off
        done.pop().result()


async def _speak(client: Client, duplex: Duplex) -> None:
    """What the command says, and how it ends."""
    try:
        while (piece := await duplex.receive()) is not None:
            if piece.data:
                await client.send(piece.channel, piece.data)
        await client.end(outcomes.ended(duplex.exit_code))
    except StatusError as error:
        await client.end(outcomes.failed(error))
