"""A client that leaves behind input that nobody reads: its end cannot be read either."""

from __future__ import annotations

import asyncio
import struct
from functools import partial

import pytest
from aiohttp import web

from master.apiserver.rest import outflow
from master.apiserver.rest.upgrades import port_forwards, remote_commands
from master.apiserver.rest.upgrades.port_forwards import PORT_FORWARD
from master.apiserver.rest.upgrades.websocket_channels import V4
from tests.component.upgrades.spdyserver import SECONDS, Answer, serving
from tests.fakes import spdyclient
from tests.fakes.duplex import STDIN, FakeProcess
from tests.fakes.spdyclient import SpdyClient

INPUT = bytes(256 << 10)
INPUTS = 8


class Deaf(FakeProcess):
    """Takes no input."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()

    async def send(self, data: bytes, channel: int = STDIN) -> None:
        """For ever."""
        self.is_asked.set()
        await asyncio.Event().wait()


async def command(program: FakeProcess, request: web.Request) -> web.StreamResponse:
    return await remote_commands.answer(request, program.command)


async def ports(program: FakeProcess, request: web.Request) -> web.StreamResponse:
    return await port_forwards.answer(request, program.dial, ["80"])


def websocket() -> tuple[str, bytes]:
    """(headers, input) on channel 0, in masked messages."""
    headers = (
        f"Upgrade: websocket\r\nSec-WebSocket-Protocol: {V4}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    message = struct.pack(">BBQI", 0x82, 0x80 | 127, 1 + len(INPUT), 0) + b"\0" + INPUT
    return headers, message * INPUTS


def spdy(protocol: str, *types: str) -> tuple[str, bytes]:
    """(headers, input) on the last of the streams."""
    client = SpdyClient()
    opened = [client.open({"streamtype": one, "requestid": "0", "port": "80"}) for one in types]
    headers = f"Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n"
    last = 2 * len(types) - 1
    return headers, b"".join(opened) + spdyclient.data(last, INPUT) * INPUTS


@pytest.mark.parametrize(
    ("answer", "speaks"),
    [
        (command, websocket()),
        (ports, websocket()),
        (command, spdy(V4, "error", "stdout", "stderr", "stdin")),
        (ports, spdy(PORT_FORWARD, "error", "data")),
    ],
    ids=["command, WebSocket", "ports, WebSocket", "command, SPDY", "ports, SPDY"],
)
async def test_a_client_that_leaves_behind_input_is_missed(
    monkeypatch: pytest.MonkeyPatch,
    answer: partial[web.StreamResponse],
    speaks: tuple[str, bytes],
) -> None:
    monkeypatch.setattr(outflow, "PING_SECONDS", 0.01)
    program = Deaf()
    headers, sent = speaks
    answering: Answer = partial(answer, program)
    async with asyncio.timeout(SECONDS), serving(answering) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        start = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{headers}\r\n"
        writer.write(start.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(sent)
        await program.is_asked.wait()
        writer.transport.abort()
        await program.left.wait()
