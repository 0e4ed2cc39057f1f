"""The channels of exec and attach on SPDY: each is a stream, which says in a header what it is.

Source: k8s.io/kubernetes kubelet/server/remotecommand; k8s.io/streaming pkg/httpstream/spdy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from master.apiserver.registry.duplex import STDERR, STDIN, STDOUT, CommandOptions, Duplex
from master.apiserver.rest.upgrades import outcomes
from master.apiserver.rest.upgrades.negotiation import SPDY, STREAM_PROTOCOL_HEADER
from master.apiserver.rest.upgrades.outcomes import ERROR, RESIZE, End
from master.apiserver.rest.upgrades.pipes import SwitchedPipe
from master.apiserver.rest.upgrades.spdystreams import Connection, Stream, serve

STREAM_TYPE = "streamtype"
OPEN_SECONDS = 30.0
"""A client that has not opened its streams by then is given up."""
SIZE_MAX_BYTES = 256
CHANNELS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}


class SpdyChannels:
    """The client's end."""

    def __init__(
        self, pipe: SwitchedPipe, connection: Connection, streams: Mapping[int, Stream]
    ) -> None:
        self._pipe = pipe
        self._connection = connection
        self._streams = streams

    @classmethod
    @asynccontextmanager
    async def switch(
        cls, request: web.Request, protocol: str, options: CommandOptions
    ) -> AsyncIterator[SpdyChannels]:
        """Answer 101, and take the streams of a command. Raises ConnectionError."""
        pipe = await SwitchedPipe.switch(request, SPDY, {STREAM_PROTOCOL_HEADER: protocol})
        async with serve(pipe) as connection:
            yield cls(pipe, connection, await _opened(connection, _wanted(options)))

    @property
    def response(self) -> web.StreamResponse:
        """What the handler returns."""
        return self._pipe.response

    async def send(self, channel: int, data: bytes) -> None:
        """Send data on a stream, if the client has opened it; raises ConnectionError."""
        if (stream := self._streams.get(channel)) is not None:
            await stream.write(data)

    async def end(self, how: End) -> None:
        """Tell how the command has ended; raises ConnectionError."""
        await self.send(ERROR, how.status)

    async def pass_on(self, duplex: Duplex) -> None:
        """What the client sends, until it leaves. It opens no more streams."""
        tasks = [
            asyncio.create_task(_pass_on(stream, duplex))
            for channel, _pass_on in ((STDIN, _input), (RESIZE, _sizes))
            if (stream := self._streams.get(channel)) is not None
        ]
        try:
            async for stream in self._connection:
                stream.reset()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _wanted(options: CommandOptions) -> set[int]:
    asked = {
        STDIN: options.stdin,
        STDOUT: options.stdout,
        STDERR: options.stderr,
        RESIZE: options.terminal,
        ERROR: True,
    }
    return {channel for channel, is_wanted in asked.items() if is_wanted}


async def _opened(connection: Connection, wanted: set[int]) -> dict[int, Stream]:
    """The streams that are wanted; raises ConnectionResetError when they do not come."""
    streams: dict[int, Stream] = {}
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            async for stream in connection:
                channel = CHANNELS.get(stream.headers.get(STREAM_TYPE, ""))
                if channel not in wanted or channel in streams:
                    stream.reset()
                    continue
                streams[channel] = stream
                if streams.keys() == wanted:
                    return streams
    except TimeoutError as error:
        raise ConnectionResetError("the client has not opened its streams") from error
    raise ConnectionResetError("the client has gone")


async def _input(stream: Stream, duplex: Duplex) -> None:
    while data := await stream.read():
        await duplex.send(data, STDIN)
    duplex.close(STDIN)


async def _sizes(stream: Stream, duplex: Duplex) -> None:
    """Lines of JSON; kubectl ends each with a line break."""
    rest = b""
    while data := await stream.read():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if (size := outcomes.terminal_size(line)) is not None:
                duplex.resize(size.Width, size.Height)
        rest = rest[-SIZE_MAX_BYTES:]
