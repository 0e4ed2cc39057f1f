"""The registry: every verb on every resource, for REST, gRPC and the master's own parts alike.

It routes: resources with objects of their own go to the pipeline, views of other objects
(events.k8s.io) are converted, and figures that nobody stores (metrics.k8s.io) are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import msgspec

from common.api import errors
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.api.types.meta_v1 import ObjectMeta
from common.security.identity import Identity
from master.apiserver.registry.door import answering, translated
from master.apiserver.registry.filters import parse
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Change, Pipeline
from master.apiserver.registry.reads import Event, EventBatches, EventReceiver, Reads
from master.apiserver.registry.subresource import Subresource
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context, DeleteOptions, ListOptions, WatchOptions
from master.storage.entry import Entry

# What a namespaced resource offers across all namespaces.
_ACROSS = ("list", "watch")
_OF_SUBRESOURCES = ("get", "create", "update", "patch")


class ObjectPage(NamedTuple):
    """A page of a list, as bytes."""

    items: Sequence[bytes]
    revision: int
    continue_token: str
    remaining: int | None


class Computed(Protocol):
    """A resource whose objects are made when they are asked for."""

    def list(self, namespace: str) -> list[bytes]:
        """The objects as of now."""
        ...


class Review(Protocol):
    """A resource that answers what is created, and stores nothing."""

    def answer(self, user: Identity, resource: Resource, namespace: str, obj: Any) -> None:
        """Fill in the status; `namespace` is the URL's. Raises StatusError 422."""
        ...


class View(Protocol):
    """A resource that shows the objects of another one in another form."""

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


class Registry:
    """All resources of the API."""

    def __init__(
        self,
        pipeline: Pipeline,
        reads: Reads,
        *,
        subresources: Mapping[str, Subresource],
        computed: Mapping[str, Computed],
        views: Mapping[str, View],
        reviews: Mapping[str, Review],
    ) -> None:
        self.pipeline = pipeline
        self._reads = reads
        self._subresources = subresources
        self._computed = computed
        self._views = views
        self._reviews = reviews

    @property
    def scheme(self) -> Scheme:
        """The kinds that are served."""
        return self.pipeline.scheme

    def serves(self, resource: Resource, subresource: str) -> bool:
        """Whether a subresource of a resource is answered."""
        known = subresource in self._subresources or subresource in ("status", "log")
        return known and resource.subresource(subresource) is not None

    def check_verb(self, verb: str, resource: Resource, subresource: str, namespace: str) -> None:
        """404 for a subresource that is not served, 405 for a verb that the resource lacks."""
        if subresource:
            if not self.serves(resource, subresource):
                raise errors.unknown_path()
            if verb not in _OF_SUBRESOURCES:
                raise errors.method_not_allowed(verb, resource)
        elif verb not in resource.verbs or (
            resource.namespaced and not namespace and verb not in _ACROSS
        ):
            raise errors.method_not_allowed(verb, resource)

    def _key(self, resource: Resource) -> str:
        return resource.group_resource

    @answering
    async def get(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        subresource: str = "",
        resource_version: str = "",
    ) -> bytes:
        """One object; raises StatusError 404."""
        if subresource in self._subresources:
            return await self._subresources[subresource].get(resource, namespace, name)
        computed = self._computed.get(self._key(resource))
        if computed is not None:
            for data in computed.list(namespace):
                if codec.decode_plain(data)["metadata"]["name"] == name:
                    return data
            raise errors.not_found(resource, name)
        view = self._views.get(self._key(resource))
        source = view.source if view else resource
        await fresh(self.pipeline.cache, resource_version)
        entry = self.pipeline.cache.get(self.pipeline.key(source, namespace, name))
        if entry is None:
            raise errors.not_found(resource, name)
        return view.outbound(entry.data) if view else entry.data

    @answering
    async def list(self, resource: Resource, namespace: str, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        computed = self._computed.get(self._key(resource))
        if computed is not None:
            items = _chosen(resource, computed.list(namespace), options)
            return ObjectPage(items, self.pipeline.cache.revision, "", None)
        view = self._views.get(self._key(resource))
        if view:
            options = replace(options, field_selector=view.selector(options.field_selector))
        found = await self._reads.list(view.source if view else resource, namespace, options)
        items = [entry.data for entry in found.entries]
        if view:
            items = [view.outbound(data) for data in items]
        return ObjectPage(items, found.revision, found.continue_token, found.remaining)

    async def watch(
        self,
        resource: Resource,
        namespace: str,
        options: WatchOptions,
        *,
        receiver: EventReceiver | None = None,
    ) -> EventBatches:
        """Events of a resource; see `Reads.watch`. What is seen through a view is all yielded."""
        view = self._views.get(self._key(resource))
        source, receiver = (view.source, None) if view else (resource, receiver)
        if view:
            options = replace(options, field_selector=view.selector(options.field_selector))
        try:
            async for events in self._reads.watch(source, namespace, options, receiver=receiver):
                yield [_seen_through(view, event) for event in events] if view else events
        except StatusError:
            raise
        except Exception as error:
            raise translated(error, resource, "watch") from error

    @answering
    async def create(
        self,
        ctx: Context,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: Body,
    ) -> bytes:
        """POST to a collection or to a subresource."""
        if subresource:
            handler = self._handler(resource, subresource)
            return await handler.create(ctx, resource, namespace, name, body)
        if name:
            raise errors.method_not_allowed("create", resource)
        view = self._views.get(self._key(resource))
        ctx.weight = body.weight
        obj = await self.pipeline.heavy(ctx.weight, self._decode, ctx, body, resource, view)
        review = self._reviews.get(self._key(resource))
        if review is not None:
            review.answer(ctx.user, resource, namespace, obj)
            return codec.encode(obj)
        source = view.source if view else resource
        if view:
            view.check(obj, None)
        data = await self.pipeline.create(ctx, source, namespace, obj)
        return view.outbound(data) if view else data

    def _handler(self, resource: Resource, subresource: str) -> Subresource:
        if subresource not in self._subresources:
            raise errors.method_not_allowed("this verb", resource)
        return self._subresources[subresource]

    @answering
    async def update(
        self,
        ctx: Context,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: Body,
    ) -> bytes:
        """PUT an object, its status or another subresource."""
        if subresource not in ("", "status"):
            handler = self._handler(resource, subresource)
            return await handler.update(ctx, resource, namespace, name, body)
        view = self._views.get(self._key(resource))
        ctx.weight, heavy = body.weight, self.pipeline.heavy
        obj = await heavy(ctx.weight, self._decode, ctx, body, resource, view)
        _check_url(resource, obj.metadata, namespace, name)
        obj.metadata.namespace = namespace if resource.namespaced else ""
        change = await heavy(ctx.weight, _always, obj)
        data = await self.pipeline.update(
            ctx,
            view.source if view else resource,
            namespace,
            name,
            _checked(view, change) if view else change,
            subresource=subresource,
        )
        return view.outbound(data) if view else data

    def _decode(self, ctx: Context, body: Body, resource: Resource, view: View | None) -> Any:
        """The object in a body, in the form in which it is stored."""
        if view is None:
            return bodies.decode(ctx, body, self.scheme.struct_of(resource), resource.api_version)
        plain, repeated = bodies.plain(body, resource)
        cls = self.scheme.struct_of(view.source)
        obj, findings = codec.convert_request(view.inbound(plain), cls)
        ctx.take_findings(resource.kind, resource.version, [*findings, *repeated])
        return obj

    @answering
    async def patch(
        self,
        ctx: Context,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        patcher: Patcher,
    ) -> bytes:
        """PATCH an object, its status or another subresource."""
        if subresource not in ("", "status"):
            handler = self._handler(resource, subresource)
            return await handler.patch(ctx, resource, namespace, name, patcher)
        view = self._views.get(self._key(resource))
        if view:
            return await self._patch_view(ctx, view, namespace, name, patcher)
        return await self.pipeline.update(
            ctx,
            resource,
            namespace,
            name,
            lambda obj: bodies.patched(ctx, codec.encode(obj), patcher, type(obj)),
            subresource=subresource,
        )

    async def _patch_view(
        self, ctx: Context, view: View, namespace: str, name: str, patcher: Patcher
    ) -> bytes:
        """Change an object through a view of it."""
        cls = self.scheme.struct_of(view.source)

        def change(obj: Any) -> Any:
            seen = view.outbound(codec.encode(obj))
            return bodies.patched(ctx, seen, patcher, cls, view.inbound)

        wanted = _checked(view, change)
        data = await self.pipeline.update(ctx, view.source, namespace, name, wanted)
        return view.outbound(data)

    @answering
    async def delete(
        self, ctx: Context, resource: Resource, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        view = self._views.get(self._key(resource))
        source = view.source if view else resource
        data, gone = await self.pipeline.delete(ctx, source, namespace, name, options)
        return (view.outbound(data) if view else data), gone


def _check_url(resource: Resource, meta: ObjectMeta, namespace: str, name: str) -> None:
    """Raise StatusError 400 for an object that says to be another one than the URL names."""
    bodies.check_name(name, meta.name)
    if resource.namespaced and meta.namespace not in ("", namespace):
        raise errors.bad_request(bodies.NAMESPACE_MISMATCH)


def _always(obj: msgspec.Struct) -> Change:
    """The change of an update: again and again to the same object, whatever there was before."""
    data, cls = codec.encode(obj), type(obj)
    return lambda _: codec.decode(data, cls)


def _checked(view: View, change: Change) -> Change:
    """A change through a view, by the rules that the view has beside those of its source."""

    def made(obj: Any) -> Any:
        old = msgspec.structs.replace(obj)
        new = change(obj)
        view.check(new, old)
        return new

    return made


def _chosen(resource: Resource, items: list[bytes], options: ListOptions) -> list[bytes]:
    """Those of computed objects that the selectors choose; raises StatusError 400."""
    wanted = parse(resource, options.label_selector, options.field_selector)
    return items if wanted.empty else [item for item in items if wanted.matches(_entry(item))]


def _entry(data: bytes) -> Entry:
    meta = codec.decode_plain(data)["metadata"]
    path = [name for name in (meta.get("namespace", ""), meta["name"]) if name]
    return Entry("", data, 0, 0, path)


def _seen_through(view: View, event: Event) -> Event:
    if event.entry is None:
        return event
    old = event.entry
    data = view.outbound(old.data)
    path = [old.namespace, old.name] if old.namespace else [old.name]
    entry = Entry(old.key, data, old.revision, old.create_revision, path)
    return event._replace(entry=entry)
