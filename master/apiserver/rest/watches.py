"""Watches over HTTP: one JSON document a line, in the form that the client accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import lru_cache
from typing import Any, Self

import msgspec
from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.limits.unread import Unread
from common.runtime.clock import Clock
from master.apiserver import tables
from master.apiserver.registry.handler import Shown
from master.apiserver.registry.reads import Event
from master.apiserver.registry.registry import Registry
from master.apiserver.request import mediatypes
from master.apiserver.request.options import for_watch
from master.apiserver.request.target import Target
from master.apiserver.rest import negotiate, outflow, warnings
from master.apiserver.rest.connections import held_for
from master.storage.entry import Entry

TIMEOUT_DEFAULT_SECONDS = 1800
SHARED_LINES = 16
"""How many of the last lines are kept for the next watcher of the same."""


async def answer(
    request: web.Request,
    target: Target,
    parameters: Mapping[str, str],
    registry: Registry,
    clock: Clock,
    unread: Unread,
    initial_state: AbstractAsyncContextManager[None],
) -> web.StreamResponse:
    """Stream events until the client or the master goes, the time is up, or history is lost.

    `initial_state` is entered while the state is sent that a watch may begin with.
    """
    form = negotiate.accepted(request.headers.get("Accept", ""), ("Table", "PartialObjectMetadata"))
    options = for_watch(parameters, target.name)
    timeout = _timeout_seconds(parameters)
    response = web.StreamResponse(headers={"Content-Type": mediatypes.JSON})
    response.enable_chunked_encoding()
    warnings.add(response, warnings.deprecation(target.resource))
    lines = _Lines(
        target.resource,
        registry.shown(target),
        form,
        parameters,
        clock,
        options.allow_bookmarks,
    )
    writer = _Writer(request, response, lines, unread)
    events = registry.watch(target, options, receiver=writer)
    async with AsyncExitStack() as starting:
        if options.begins_with_state:
            await starting.enter_async_context(initial_state)
        first = await _first(events)
        if request.method == "HEAD":
            await events.aclose()
            return web.Response(content_type=mediatypes.JSON)
        await response.prepare(request)
        try:
            with writer:
                last = await _stream(first, events, writer, lines, timeout, starting)
            writer.cut_off()
            await response.write_eof(last)
        except ConnectionResetError:
            pass  # the client has gone, or was cut off
    return response


async def _stream(
    first: list[Event] | StatusError,
    events: AsyncGenerator[list[Event], None],
    writer: _Writer,
    lines: _Lines,
    timeout_seconds: float,
    starting: AsyncExitStack,
) -> bytes:
    """Write until the end comes; returns the line that tells of it.

    `starting` ends with what comes first.
    """
    try:
        if isinstance(first, StatusError):
            raise first
        async with asyncio.timeout(timeout_seconds):
            await writer.write(first)
            await starting.aclose()
            async for batch in events:
                await writer.write(batch)
    except TimeoutError:
        pass
    except StatusError as error:
        return _line("ERROR", codec.encode(error.status()))
    finally:
        await events.aclose()
    return lines.last_bookmark()


async def _first(events: AsyncGenerator[list[Event], None]) -> list[Event] | StatusError:
    """What can be sent at once, so that a bad request is refused before the headers are out.

    A revision that is too old is different: clients expect 200 and one ERROR event.
    """
    try:
        return await anext(events)
    except StatusError as error:
        if error.code != 410:
            raise
        return error


def _timeout_seconds(parameters: Mapping[str, str]) -> float:
    text = parameters.get("timeoutSeconds", "")
    if not text:
        return TIMEOUT_DEFAULT_SECONDS
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise errors.bad_request(f'Invalid value: "{text}": timeoutSeconds must be a number')
    return float(text) or TIMEOUT_DEFAULT_SECONDS


class _Writer:
    """Sends events to one client: at once when its connection takes more, else behind a wait.

    What waits, here and in the subscription, is held for the client until it has read it.
    """

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        lines: _Lines,
        unread: Unread,
    ) -> None:
        self._request = request
        self._protocol = request.protocol
        self._response = response
        self._lines = lines
        self._holding = held_for(request, unread)
        self._is_writing = False

    def __enter__(self) -> Self:
        """Nothing is held yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held any more."""
        self._holding.clear()

    async def write(self, events: list[Event]) -> None:
        """Send a batch, all that is queued, and forget it.

        Waits while the client reads too slowly, with turns for others.
        """
        self._is_writing = True  # until the last line is whole: the time may be up before
        self._holding.clear()
        self._holding.add(_bytes_of(events))
        count = len(self._holding.items)
        for batch in outflow.batches(self._lines.each(events)):
            if batch:  # an empty chunk would end the answer
                await outflow.write(
                    self._request,
                    self._response,
                    batch,
                    holding=self._holding,
                    stall_seconds=outflow.PAUSE_SECONDS,
                )
                await asyncio.sleep(0)
        self._is_writing = False
        self._holding.drop(count)
        events.clear()  # or the caller would keep it until the next batch comes

    def queued(self, events: Sequence[Event]) -> None:
        """A batch waits for the reader."""
        self._holding.add(_bytes_of(events))

    def take(self, events: Sequence[Event]) -> bool:
        """Send a batch now, past the response's own writer, which nothing is waiting in."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing() or self._protocol.writing_paused:
            return False
        size = 0
        for event in events:  # one, mostly
            size += len(event.entry.data) if event.entry is not None else 0
        if size > outflow.PIECE_BYTES:
            return False
        if data := self._lines.of(events):  # an empty chunk would end the answer
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def cut_off(self) -> None:
        """Close the connection of a client that cannot be told of an end: it has left too much
        unread, or has half a line.
        """
        transport = self._protocol.transport
        if transport is not None and (self._protocol.writing_paused or self._is_writing):
            transport.abort()


def _bytes_of(events: Iterable[Event]) -> list[bytes]:
    return [event.entry.data for event in events if event.entry is not None]


class _Lines:
    """Renders events as one client wants them."""

    def __init__(
        self,
        resource: Resource,
        shown: Shown,
        form: negotiate.Accepted,
        parameters: Mapping[str, str],
        clock: Clock,
        bookmarks: bool,
    ) -> None:
        self._resource = resource
        self._shown = shown
        self._form = form
        self._include = parameters.get("includeObject", "Metadata")
        self._clock = clock
        self._bookmarks = bookmarks
        self._head = True
        self._revision = 0

    def of(self, events: Sequence[Event]) -> bytes:
        """The lines of a batch; b"" when there is nothing to tell."""
        return b"".join([self._of_one(event) for event in events])

    def each(self, events: Iterable[Event]) -> Iterator[bytes]:
        """The line of each event; b"" when there is nothing to tell."""
        return map(self._of_one, events)

    def _of_one(self, event: Event) -> bytes:
        self._revision = max(self._revision, event.revision)
        if event.entry is None:
            return self._bookmark(event.initial_end) if self._bookmarks else b""
        if self._form.kind == "Table":
            return _line(event.type, self._table(event.entry.data))
        return _shared_line(event.type, event.entry, self._form.kind)

    def _table(self, data: bytes) -> bytes:
        """A Table of one row. The first has a head, and ages change: there is nothing to share."""
        row = tables.row(self._shown, data, self._clock.now(), self._include)
        plain = msgspec.json.decode(data, type=_Versioned)
        metadata = {"resourceVersion": plain.metadata.resourceVersion}
        made = tables.table(self._shown, [row], metadata, head=self._head)
        self._head = False
        return codec.encode(made)

    def _bookmark(self, initial_end: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(self._revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        head = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
        if self._form.kind == "Table":
            data = codec.encode(tables.table(self._shown, [], metadata, head=self._head))
        else:
            data = codec.encode({**head, "metadata": metadata})
        return _line("BOOKMARK", data)

    def last_bookmark(self) -> bytes:
        """Tells the client up to where it has seen everything, if it wants to know."""
        return self._bookmark(initial_end=False) if self._bookmarks and self._revision else b""


@lru_cache(maxsize=SHARED_LINES)
def _shared_line(kind: str, entry: Entry, form: str) -> bytes:
    """The line of an object as it is, or of its PartialObjectMetadata: the same for everybody."""
    if not form:
        return _line(kind, entry.data)
    return _line(kind, codec.encode(tables.partial(codec.decode_plain(entry.data))))


def _line(kind: str, data: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), data)


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Meta
