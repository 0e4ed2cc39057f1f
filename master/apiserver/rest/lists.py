"""Answers that are lists, in every form: rendered item by item, and sent as they are rendered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from common.api.codec import protobuf, yaml
from common.api.resource import Resource
from common.limits.budget import BudgetExceeded, MemoryBudget
from common.limits.unread import Holding
from common.runtime.offload import Offload
from master.apiserver import tables
from master.apiserver.registry.handler import ObjectPage, Shown
from master.apiserver.registry.heavy import Heavy
from master.apiserver.request import mediatypes
from master.apiserver.rest import negotiate, outflow, warnings

SMALL_BYTES = 128 << 10
"""A list of objects with less than that is made and sent in one go."""
RENDERED_MAX_BYTES = 128 << 20
"""What all lists together may take while they are made that must be whole before they are sent."""
WAIT_SECONDS = 10.0

R = TypeVar("R", bound=web.StreamResponse)
Render = Callable[[bytes], bytes]
"""Makes an item of a list of an object as it is stored."""


class Asked(NamedTuple):
    """What a list is to be like, and what its client is to be warned of."""

    resource: Resource
    shown: Shown
    form: negotiate.Accepted
    include: str
    now: datetime
    warnings: Sequence[str] = ()


class Lists:
    """Answers lists."""

    def __init__(self, offload: Offload) -> None:
        self._budget = MemoryBudget(RENDERED_MAX_BYTES)
        self._offload, self._heavy = offload, Heavy(offload)

    async def answer(
        self, request: web.Request, asked: Asked, found: ObjectPage, holding: Holding
    ) -> web.StreamResponse:
        """The list in the form that the client accepts; raises StatusError 429.

        The holding has the objects that were found.
        """
        if request.method == "HEAD":
            return _with_warnings(asked, web.Response(content_type=asked.form.media_type))
        size = sum(map(len, found.items))
        if asked.form.media_type == mediatypes.PROTOBUF:
            return await self._protobuf(request, asked, found, size, holding)
        if asked.form.media_type == mediatypes.YAML:
            return await self._yaml(request, asked, found, holding)
        start, render = (
            _table(asked, found) if asked.form.kind == "Table" else _objects(asked, found)
        )
        if size < SMALL_BYTES:
            body = b"%b%b]}" % (start, b",".join(map(render, found.items)))
            return _with_warnings(asked, web.Response(body=body, content_type=mediatypes.JSON))
        response = web.StreamResponse(headers={"Content-Type": mediatypes.JSON})
        parts = _joined(start, found.items, render)
        return await outflow.send(request, _with_warnings(asked, response), parts, holding)

    async def _protobuf(
        self,
        request: web.Request,
        asked: Asked,
        found: ObjectPage,
        size: int,
        holding: Holding,
    ) -> web.StreamResponse:
        """Its length stands in front of it, so that it is made before it is sent."""
        try:
            async with self._budget.hold(size, timeout_seconds=WAIT_SECONDS):
                head = _head(asked, found)
                parts = protobuf.list_envelope(head, await self._protobuf_items(head, found.items))
                holding.clear()
                await holding.fit(parts, timeout_seconds=WAIT_SECONDS)
        except BudgetExceeded as error:
            raise errors.too_many_requests(str(error), retry_after_seconds=1) from error
        headers = {"Content-Type": mediatypes.PROTOBUF}
        response = _with_warnings(asked, web.StreamResponse(headers=headers))
        response.content_length = sum(map(len, parts))
        return await outflow.send(request, response, parts, holding)

    async def _protobuf_items(self, head: dict[str, Any], items: Sequence[bytes]) -> list[bytes]:
        """The items in batches, with turns for others; what is large is made in a thread."""

        def render(data: bytes) -> bytes:
            return protobuf.list_item(head, codec.decode_plain(data))

        made, waiting, size = [], [], 0
        for data in items:
            waiting.append(await self._heavy(len(data), render, data))
            size += len(data)
            if size >= outflow.PIECE_BYTES:
                made.append(b"".join(waiting))
                waiting, size = [], 0
                await asyncio.sleep(0)
        return [*made, *waiting]

    async def _yaml(
        self, request: web.Request, asked: Asked, found: ObjectPage, holding: Holding
    ) -> web.StreamResponse:
        """Each item by itself and in a thread: YAML takes longest of all forms."""
        response = _with_warnings(
            asked, web.StreamResponse(headers={"Content-Type": mediatypes.YAML})
        )
        await response.prepare(request)
        try:
            head = yaml.encode(_head(asked, found))
            head += b"items:\n" if found.items else b"items: []\n"
            await outflow.write(request, response, head, holding=holding)
            for data in found.items:
                item = await self._offload(_yaml_item, data)
                await outflow.write(request, response, item, holding=holding)
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client has gone, or was cut off
        return response


def _with_warnings(asked: Asked, response: R) -> R:
    warnings.add(response, [*asked.warnings, *warnings.deprecation(asked.resource)])
    return response


def _head(asked: Asked, found: ObjectPage) -> dict[str, Any]:
    """The list without its items."""
    resource = asked.resource
    kind, version = f"{resource.kind}List", resource.api_version
    if asked.form.kind.startswith("PartialObjectMetadata"):
        kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    return {"kind": kind, "apiVersion": version, "metadata": _metadata(found)}


def _metadata(found: ObjectPage) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(found.revision)}
    if found.continue_token:
        metadata["continue"] = found.continue_token
    if found.remaining is not None:
        metadata["remainingItemCount"] = found.remaining
    return metadata


def _objects(asked: Asked, found: ObjectPage) -> tuple[bytes, Render]:
    """The start of a list of objects, or of their metadata, and how each is rendered."""
    head = codec.encode(_head(asked, found))
    return b'%b,"items":[' % head[:-1], _partial_item if asked.form.kind else without_type


def _table(asked: Asked, found: ObjectPage) -> tuple[bytes, Render]:
    """The start of a Table, and how each row is rendered."""

    def row(data: bytes) -> bytes:
        return codec.encode(tables.row(asked.shown, data, asked.now, asked.include))

    head = tables.table(asked.shown, [], _metadata(found))
    del head["rows"]
    return b'%b,"rows":[' % codec.encode(head)[:-1], row


def _joined(start: bytes, items: Sequence[bytes], render: Render) -> Iterator[bytes]:
    """A JSON object from its start to its end, with items that are rendered one by one."""
    comma = start
    for data in items:
        yield comma
        yield render(data)
        comma = b","
    yield b"]}" if items else start + b"]}"


def without_type(data: bytes) -> bytes:
    """An object as an item of a list: without apiVersion and kind, which stand in front."""
    start = data.find(b'"metadata":')
    return b"{" + data[start:] if start > 0 else data


def _partial_item(data: bytes) -> bytes:
    return codec.encode(tables.partial(codec.decode_plain(data)))


def _yaml_item(data: bytes) -> bytes:
    return yaml.encode([codec.decode_plain(without_type(data))])
