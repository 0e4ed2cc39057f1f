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
from master.apiserver.request import bodies, patches
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
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

    def check_verb(self, verb: str, target: Target) -> None:
        """404 for a subresource that is not served, 405 for a verb that the resource lacks."""
        resource, namespace, _, subresource = target
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
    async def get(self, target: Target, *, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404."""
        resource, namespace, name, subresource = target
        if subresource in self._subresources:
            return await self._subresources[subresource].get(target)
        computed = self._computed.get(self._key(resource))
        if computed is not None:
            for data in computed.list(namespace):
                if codec.decode_plain(data)["metadata"]["name"] == name:
                    return data
            raise errors.not_found(resource, name)
        view = self._views.get(self._key(resource))
        source = view.source if view else resource
        await fresh(self.pipeline.cache, resource_version)
        entry = self.pipeline.cache.get(self.pipeline.key(Target(source, namespace, name)))
        if entry is None:
            raise errors.not_found(resource, name)
        return view.outbound(entry.data) if view else entry.data

    @answering
    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        resource, namespace = target.resource, target.namespace
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
        self, target: Target, options: WatchOptions, *, receiver: EventReceiver | None = None
    ) -> EventBatches:
        """Events of a resource; see `Reads.watch`. What is seen through a view is all yielded."""
        resource, namespace = target.resource, target.namespace
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
    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """POST to a collection or to a subresource."""
        resource, namespace = target.resource, target.namespace
        if target.subresource:
            return await self._handler(target).create(ctx, target, body)
        if target.name:
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
        data = await self.pipeline.create(ctx, Target(source, namespace), obj)
        return view.outbound(data) if view else data

    def _handler(self, target: Target) -> Subresource:
        if target.subresource not in self._subresources:
            raise errors.method_not_allowed("this verb", target.resource)
        return self._subresources[target.subresource]

    @answering
    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """PUT an object, its status or another subresource."""
        if target.subresource not in ("", "status"):
            return await self._handler(target).update(ctx, target, body)
        resource, namespace = target.resource, target.namespace
        view = self._views.get(self._key(resource))
        ctx.weight, heavy = body.weight, self.pipeline.heavy
        obj = await heavy(ctx.weight, self._decode, ctx, body, resource, view)
        _check_url(target, obj.metadata)
        obj.metadata.namespace = namespace if resource.namespaced else ""
        change = await heavy(ctx.weight, _always, obj)
        if view is None:
            return await self.pipeline.update(ctx, target, change)
        source = target._replace(resource=view.source)
        return view.outbound(await self.pipeline.update(ctx, source, _checked(view, change)))

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
    async def patch(self, ctx: Context, target: Target, patch: Patch) -> bytes:
        """PATCH an object, its status or another subresource."""
        ctx.weight = len(patch.data)
        patcher = await self.pipeline.heavy(ctx.weight, patches.read, self.scheme, target, patch)
        if target.subresource not in ("", "status"):
            return await self._handler(target).patch(ctx, target, patcher)
        view = self._views.get(self._key(target.resource))
        if view:
            return await self._patch_view(ctx, view, target, patcher)
        return await self.pipeline.update(
            ctx, target, lambda obj: bodies.patched(ctx, codec.encode(obj), patcher, type(obj))
        )

    async def _patch_view(
        self, ctx: Context, view: View, target: Target, patcher: Patcher
    ) -> bytes:
        """Change an object through a view of it."""
        cls = self.scheme.struct_of(view.source)

        def change(obj: Any) -> Any:
            seen = view.outbound(codec.encode(obj))
            return bodies.patched(ctx, seen, patcher, cls, view.inbound)

        source = target._replace(resource=view.source)
        return view.outbound(await self.pipeline.update(ctx, source, _checked(view, change)))

    @answering
    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        view = self._views.get(self._key(target.resource))
        source = target._replace(resource=view.source) if view else target
        data, gone = await self.pipeline.delete(ctx, source, options)
        return (view.outbound(data) if view else data), gone


def _check_url(target: Target, meta: ObjectMeta) -> None:
    """Raise StatusError 400 for an object that says to be another one than the URL names."""
    bodies.check_name(target.name, meta.name)
    if target.resource.namespaced and meta.namespace not in ("", target.namespace):
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
