"""exec and attach over SPDY, as kubectl falls back to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from common.api.errors import StatusError
from master.apiserver.registry.duplex import Piece
from master.apiserver.rest.upgrades import remote_commands
from tests.component.upgrades.spdyserver import SECONDS, Client, connected, serving
from tests.fakes import spdyclient
from tests.fakes.duplex import STDERR, STDOUT, FakeProcess
from tests.fakes.spdyclient import Control, Frame, Reply

V4 = "v4.channel.k8s.io"


@asynccontextmanager
async def running(process: FakeProcess) -> AsyncIterator[Client]:
    """A client of a process."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await remote_commands.answer(request, process.command)

    async with serving(answer) as server, connected(server, V4) as (head, client):
        assert head.startswith("HTTP/1.1 101 ")
        assert f"X-Stream-Protocol-Version: {V4}" in head
        yield client


async def refused(process: FakeProcess, protocol: str) -> str:
    """The first line of the answer to a client."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await remote_commands.answer(request, process.command)

    async with serving(answer) as server, connected(server, protocol) as (head, _):
        return head.splitlines()[0]


async def test_input_output_and_success() -> None:
    process = FakeProcess()
    process.echoes = True
    async with running(process) as client:
        failed, stdin, stdout, stderr = client.opens("error", "stdin", "stdout", "stderr")
        client.writer.write(spdyclient.data(stdin, b"hello"))
        client.writer.write(spdyclient.data(stdin, b" there", fin=True))
        await client.until(lambda _: client.data(failed) != b"")
        assert client.data(stdout) == b"hello there"
        assert client.data(stderr) == b""
        assert json.loads(client.data(failed)) == {"metadata": {}, "status": "Success"}
        goodbye = Control(7, (7, 0))
        await client.until(lambda heard: goodbye in heard)


async def test_errors_and_an_exit_code() -> None:
    process = FakeProcess(stdin=False)
    process.says.put_nowait(Piece(STDOUT, b"out"))
    process.says.put_nowait(Piece(STDERR, b"err"))
    process.ends(7)
    async with running(process) as client:
        failed, stdout, stderr = client.opens("error", "stdout", "stderr")
        await client.until(lambda _: client.data(failed) != b"")
        assert (client.data(stdout), client.data(stderr)) == (b"out", b"err")
        assert json.loads(client.data(failed))["details"]["causes"][0]["message"] == "7"


async def test_sizes_come_a_line_each() -> None:
    process = FakeProcess(terminal=True)
    async with running(process) as client:
        _, _, _, resize = client.opens("error", "stdin", "stdout", "resize")
        for part in (b'{"Width":1,', b'"Height":2}\njunk\n', b'{"Width":80,"Height":24}\n'):
            client.writer.write(spdyclient.data(resize, part))
        async with asyncio.timeout(SECONDS):
            while len(process.sizes) < 2:
                process.sized.clear()
                await process.sized.wait()
    assert process.sizes == [(1, 2), (80, 24)]


async def test_streams_that_were_not_asked_for_are_reset() -> None:
    process = FakeProcess(stdin=False)
    async with running(process) as client:
        _, _, _, stdin, again, odd = client.opens(
            "error", "stdout", "stderr", "stdin", "stdout", "nonsense"
        )
        resets = {Control(3, (stream_id, 5)) for stream_id in (stdin, again, odd)}
        await client.until(lambda heard: resets <= set(heard))


def contains(wanted: Frame, heard: list[Frame]) -> bool:
    """Whether a frame was heard."""
    return wanted in heard


async def test_a_process_whose_client_leaves_is_left() -> None:
    for opened in (("error", "stdin", "stdout", "stderr"), ("error",), ()):
        process = FakeProcess()
        async with running(process) as client:
            for stream_id in client.opens(*opened):
                accepted = Reply(stream_id, bytes(4))
                await client.until(partial(contains, accepted))
        async with asyncio.timeout(SECONDS):
            await process.left.wait()


async def test_what_cannot_be_had_is_told_before_there_is_a_connection() -> None:
    assert "403" in await refused(FakeProcess(), "v9.channel.k8s.io")
    process = FakeProcess()
    process.refusal = StatusError(404, "NotFound", "no such container")
    assert "404" in await refused(process, V4)
