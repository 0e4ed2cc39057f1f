"""Views: a resource that shows the objects of another one, its source, in another form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import msgspec

from common.api.codec import json as codec
from common.api.resource import Resource
from master.apiserver.registry.handler import Handler, ObjectPage
from master.apiserver.registry.pipeline import Change
from master.apiserver.registry.reads import Event, EventBatches, EventReceiver
from master.apiserver.registry.stored import Stored, replacing
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.target import Target
from master.storage.entry import Entry


class View(Protocol):
    """In what the two forms differ. Pure."""

    source: Resource

    def outbound(self, data: bytes) -> bytes:
        """A stored object in the form of this resource."""
        ...

    def inbound(self, plain: dict[str, Any]) -> dict[str, Any]:
        """A client's object in the form of the source."""
        ...

    def selector(self, text: str) -> str:
        """A field selector in the names of the source; raises StatusError 400."""
        ...

    def check(self, new: Any, old: Any) -> None:
        """Raise StatusError 422 for what the source allows and this resource does not.

        Both are in the form of the source; `old` is None for a new object.
        """
        ...


class Viewed(Handler):
    """Every verb, through a view."""

    def __init__(self, view: View, stored: Stored) -> None:
        self._view = view
        self._stored = stored

    def stores(self, resource: Resource) -> bool:
        """Whether the source is that resource itself, seen with something that is not stored."""
        return resource.group_resource == self._view.source.group_resource

    def _at_source(self, target: Target) -> Target:
        return target._replace(resource=self._view.source)

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404."""
        return self._view.outbound(
            await self._stored.get(self._at_source(target), resource_version)
        )

    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        options = replace(options, field_selector=self._view.selector(options.field_selector))
        page = await self._stored.list(self._at_source(target), options)
        return page._replace(items=[self._view.outbound(data) for data in page.items])

    async def watch(
        self, target: Target, options: WatchOptions, receiver: EventReceiver | None = None
    ) -> EventBatches:
        """Events; all are yielded."""
        options = replace(options, field_selector=self._view.selector(options.field_selector))
        async for events in self._stored.watch(self._at_source(target), options):
            yield [self._shown(event) for event in events]

    def _shown(self, event: Event) -> Event:
        old = event.entry
        if old is None:
            return event
        path = [old.namespace, old.name] if old.namespace else [old.name]
        data = self._view.outbound(old.data)
        return event._replace(entry=Entry(old.key, data, old.revision, old.create_revision, path))

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Store a new object of the source."""
        heavy = self._stored.pipeline.heavy
        obj = await heavy(ctx.weight, self._decode, ctx, body, target.resource)
        self._view.check(obj, None)
        return self._view.outbound(
            await self._stored.pipeline.create(ctx, self._at_source(target), obj)
        )

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Replace an object of the source."""
        heavy = self._stored.pipeline.heavy
        obj = await heavy(ctx.weight, self._decode, ctx, body, target.resource)
        return await self._change(ctx, target, await heavy(ctx.weight, replacing, target, obj))

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Change a part of an object, as it is seen here."""

        def change(obj: Any) -> Any:
            seen = self._view.outbound(codec.encode(obj))
            return bodies.patched(ctx, seen, patcher, type(obj), self._view.inbound)

        return await self._change(ctx, target, change)

    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object of the source."""
        data, gone = await self._stored.delete(ctx, self._at_source(target), options)
        return self._view.outbound(data), gone

    def _decode(self, ctx: Context, body: Body, resource: Resource) -> Any:
        """The object in a body, in the form of the source."""
        plain, repeated = bodies.plain(body, resource)
        cls = self._stored.pipeline.scheme.struct_of(self._view.source)
        obj, findings = codec.convert_request(self._view.inbound(plain), cls)
        ctx.take_findings(resource.kind, resource.version, [*findings, *repeated])
        return obj

    async def _change(self, ctx: Context, target: Target, change: Change) -> bytes:
        """Apply a change by the rules that this resource has beside those of the source."""

        def checked(obj: Any) -> Any:
            old = msgspec.structs.replace(obj)
            new = change(obj)
            self._view.check(new, old)
            return new

        data = await self._stored.pipeline.update(ctx, self._at_source(target), checked)
        return self._view.outbound(data)
