"""Watches over HTTP: one JSON document a line, in the form that the client accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.runtime.clock import Clock
from master.apiserver.registry.reads import Event
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.request import WatchOptions
from master.apiserver.rest import negotiate, tables
from master.apiserver.rest.options import check_watch
from master.apiserver.rest.requestinfo import RequestInfo, truthy

TIMEOUT_DEFAULT_SECONDS = 1800


async def answer(
    request: web.Request,
    info: RequestInfo,
    parameters: Mapping[str, str],
    registry: Registry,
    clock: Clock,
) -> web.StreamResponse:
    """Stream events until the client goes, the time is up, or history is lost."""
    form = negotiate.accepted(request.headers.get("Accept", ""), ("Table", "PartialObjectMetadata"))
    options = _options(info, parameters)
    timeout = _timeout_seconds(parameters)
    events = registry.watch(info.resource, info.namespace, options)
    first, failure = await _first(events)
    response = web.StreamResponse(headers={"Content-Type": negotiate.JSON})
    response.enable_chunked_encoding()
    await response.prepare(request)
    writer = _Writer(response, info.resource, form, parameters, clock, options.allow_bookmarks)
    try:
        if failure is not None:
            raise failure
        async with asyncio.timeout(timeout):
            await writer.write(first)
            async for batch in events:
                await writer.write(batch)
    except TimeoutError:
        await writer.bookmark()
    except StatusError as error:
        await writer.error(error)
    except ConnectionResetError:
        return response
    finally:
        await events.aclose()
    await response.write_eof()
    return response


async def _first(
    events: AsyncGenerator[list[Event], None],
) -> tuple[list[Event], StatusError | None]:
    """What can be sent at once, so that a bad request is refused before the headers are out.

    A revision that is too old is different: clients expect 200 and one ERROR event.
    """
    try:
        return await anext(events), None
    except StatusError as error:
        if error.code != 410:
            raise
        return [], error


def _options(info: RequestInfo, parameters: Mapping[str, str]) -> WatchOptions:
    field_selector = parameters.get("fieldSelector", "")
    if info.name:
        own = f"metadata.name={info.name}"
        field_selector = f"{field_selector},{own}" if field_selector else own
    initial = truthy(parameters.get("sendInitialEvents"))
    check_watch(parameters)
    return WatchOptions(
        label_selector=parameters.get("labelSelector", ""),
        field_selector=field_selector,
        resource_version=parameters.get("resourceVersion", ""),
        resource_version_match=parameters.get("resourceVersionMatch", ""),
        allow_bookmarks=truthy(parameters.get("allowWatchBookmarks")),
        send_initial_events=initial,
    )


def _timeout_seconds(parameters: Mapping[str, str]) -> float:
    text = parameters.get("timeoutSeconds", "")
    if not text:
        return TIMEOUT_DEFAULT_SECONDS
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise errors.bad_request(f'Invalid value: "{text}": timeoutSeconds must be a number')
    return float(text) or TIMEOUT_DEFAULT_SECONDS


class _Writer:
    """Renders events for one client."""

    def __init__(
        self,
        response: web.StreamResponse,
        resource: Resource,
        form: negotiate.Accepted,
        parameters: Mapping[str, str],
        clock: Clock,
        bookmarks: bool,
    ) -> None:
        self._response = response
        self._resource = resource
        self._form = form
        self._include = parameters.get("includeObject", "Metadata")
        self._clock = clock
        self._bookmarks = bookmarks
        self._head = True
        self._revision = 0

    async def write(self, events: list[Event]) -> None:
        """Send a batch in one piece."""
        lines = []
        for event in events:
            self._revision = max(self._revision, event.revision)
            lines.append(self._line(event))
        if any(lines):
            await self._response.write(b"".join(lines))

    def _line(self, event: Event) -> bytes:
        if event.entry is None:
            return self._bookmark_line(event.initial_end) if self._bookmarks else b""
        return self._event(event.type, self._render(event.entry.data))

    def _render(self, data: bytes) -> bytes:
        if self._form.kind == "Table":
            row = tables.row(self._resource, data, self._clock.now(), self._include)
            plain = msgspec.json.decode(data, type=_Versioned)
            made = tables.table(
                self._resource,
                [row],
                {"resourceVersion": plain.metadata.resourceVersion},
                head=self._head,
            )
            self._head = False
            return codec.encode(made)
        if self._form.kind:
            return codec.encode(tables.partial(codec.decode_plain(data)))
        return data

    @staticmethod
    def _event(kind: str, data: bytes) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), data)

    def _bookmark_line(self, initial_end: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(self._revision)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        head = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
        if self._form.kind == "Table":
            data = codec.encode(tables.table(self._resource, [], metadata, head=self._head))
        else:
            data = codec.encode({**head, "metadata": metadata})
        return self._event("BOOKMARK", data)

    async def bookmark(self) -> None:
        """Tell the client up to where it has seen everything."""
        if self._bookmarks and self._revision:
            await self._response.write(self._bookmark_line(initial_end=False))

    async def error(self, error: StatusError) -> None:
        """End the stream with a Status."""
        await self._response.write(self._event("ERROR", codec.encode(error.status())))


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Meta
