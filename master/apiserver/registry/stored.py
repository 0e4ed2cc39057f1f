"""Handlers of objects that are stored: as they are, or their status alone."""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.codec import json as codec
from common.api.resource import Resource
from master.apiserver.registry.freshness import fresh, is_fresh
from master.apiserver.registry.handler import Handler, ObjectPage
from master.apiserver.registry.pipeline import Change, Pipeline
from master.apiserver.registry.reads import EventBatches, EventReceiver, Reads
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.target import Target
from master.storage.entry import with_resource_version


class Stored(Handler):
    """Objects of the resource's own; one handler serves all resources."""

    def __init__(self, pipeline: Pipeline, reads: Reads) -> None:
        self.pipeline = pipeline
        self._reads = reads

    def stores(self, resource: Resource) -> bool:
        """It does."""
        return True

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404.

        While the cache has yet to hear of writes, the store is asked for the object itself: who
        reads one does not wait until the cache has heard of what others write.
        """
        cache = self.pipeline.cache
        if resource_version:
            await fresh(cache, resource_version)
        elif self.pipeline.backlog() or not await is_fresh(cache):
            current = await self.pipeline.read(target)
            return with_resource_version(current.value, current.revision)
        entry = self.pipeline.cache.get(self.pipeline.key(target))
        if entry is None:
            raise errors.not_found(target.resource, target.name)
        return entry.data

    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        page = await self._reads.list(target.resource, target.namespace, options)
        items = [entry.data for entry in page.entries]
        return ObjectPage(items, page.revision, page.continue_token, page.remaining)

    def watch(
        self, target: Target, options: WatchOptions, receiver: EventReceiver | None = None
    ) -> EventBatches:
        """Events; see `Reads.watch`."""
        return self._reads.watch(target.resource, target.namespace, options, receiver=receiver)

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Store a new object."""
        obj = await self.pipeline.heavy(ctx.weight, self._decode, ctx, body, target.resource)
        return await self.pipeline.create(ctx, target, obj)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Replace an object, or its status."""
        obj = await self.pipeline.heavy(ctx.weight, self._decode, ctx, body, target.resource)
        change = await self.pipeline.heavy(ctx.weight, replacing, target, obj)
        return await self.pipeline.update(ctx, target, change)

    def _decode(self, ctx: Context, body: Body, resource: Resource) -> Any:
        cls = self.pipeline.scheme.struct_of(resource)
        return bodies.decode(ctx, body, cls, resource.api_version)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Change a part of an object, or of its status."""
        return await self.pipeline.update(
            ctx, target, lambda obj: bodies.patched(ctx, codec.encode(obj), patcher, type(obj))
        )

    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        return await self.pipeline.delete(ctx, target, options)


class Status(Handler):
    """The status of stored objects. The pipeline keeps the rest as it is."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The whole object."""
        return await self._stored.get(target, resource_version)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Replace the status."""
        return await self._stored.update(ctx, target, body)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Change a part of the status."""
        return await self._stored.patch(ctx, target, patcher)


def replacing(target: Target, obj: Any) -> Change:
    """The change of an update: to the same object, whatever there was before.

    Raises StatusError 400 for an object that says to be another one than the URL names.
    """
    meta, namespaced = obj.metadata, target.resource.namespaced
    bodies.check_name(target.name, meta.name)
    if namespaced and meta.namespace not in ("", target.namespace):
        raise errors.bad_request(bodies.NAMESPACE_MISMATCH)
    meta.namespace = target.namespace if namespaced else ""
    data, cls = codec.encode(obj), type(obj)
    return lambda _: codec.decode(data, cls)
