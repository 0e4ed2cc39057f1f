"""The in-process ApiClient: controllers and the scheduler call the registry without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.types.core_v1 import Binding, ObjectReference
from common.api.types.meta_v1 import ObjectMeta
from common.client.api import ObjectList, WatchEvent
from common.security.identity import Identity
from master.apiserver.registry.registry import Registry
from master.apiserver.request import mediatypes
from master.apiserver.request.audit import Call, Caller
from master.apiserver.request.bodies import Body
from master.apiserver.request.chain import Chain
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.resources.core.pod.binding import BindingSubresource


class LocalClient:
    """ApiClient of a part of this master, under an identity of its own."""

    def __init__(self, registry: Registry, chain: Chain, user: Identity) -> None:
        self._registry = registry
        self._chain = chain
        self._caller = Caller(user, user)
        self._binding = BindingSubresource(registry.pipeline)

    def _context(self, call: Call) -> Context:
        ctx = Context(user=self._caller.user, field_validation="Ignore")
        call.annotations = ctx.audit
        return ctx

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """The most recent state of an object."""
        target = Target(resource, namespace, name)
        async with self._chain.call(self._caller, "get", target):
            return await self._registry.get(target)

    async def list(
        self, resource: Resource, namespace: str = "", *, resource_version: str = ""
    ) -> ObjectList:
        """All objects; "0" takes any cached state."""
        options = ListOptions(resource_version=resource_version)
        target = Target(resource, namespace)
        async with self._chain.call(self._caller, "list", target):
            page = await self._registry.list(target, options)
        return ObjectList(list(page.items), page.revision)

    async def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        """Changes after a revision, in order."""
        options = WatchOptions(resource_version=resource_version, allow_bookmarks=True)
        target = Target(resource, namespace)
        async with self._chain.call(self._caller, "watch", target):
            async for events in self._registry.watch(target, options):
                yield [
                    WatchEvent(e.type, e.revision, e.entry.data if e.entry else b"") for e in events
                ]

    async def create(self, resource: Resource, namespace: str, data: bytes) -> bytes:
        """Create an object."""
        target = Target(resource, namespace)
        async with self._chain.call(self._caller, "create", target) as call:
            made = await self._registry.create(self._context(call), target, Body(data))
            call.made(made)
            return made

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        data: bytes,
        *,
        subresource: str = "",
    ) -> bytes:
        """Replace an object or one of its subresources."""
        target = Target(resource, namespace, name, subresource)
        async with self._chain.call(self._caller, "update", target) as call:
            return await self._registry.update(self._context(call), target, Body(data))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> bytes:
        """JSON merge patch."""
        target = Target(resource, namespace, name, subresource)
        wanted = Patch(codec.encode(dict(patch)), mediatypes.MERGE_PATCH)
        async with self._chain.call(self._caller, "patch", target) as call:
            return await self._registry.patch(self._context(call), target, wanted)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
    ) -> None:
        """Delete the object that has this uid."""
        options = DeleteOptions(
            grace_period_seconds=grace_period_seconds,
            uid=uid,
            propagation_policy=propagation_policy,
        )
        target = Target(resource, namespace, name)
        async with self._chain.call(self._caller, "delete", target) as call:
            await self._registry.delete(self._context(call), target, options)

    async def bind(self, namespace: str, name: str, *, uid: str, node: str) -> None:
        """Bind a pod to a node."""
        pods = self._registry.scheme.require("", "v1", "pods")
        binding = Binding(
            metadata=ObjectMeta(uid=uid), target=ObjectReference(kind="Node", name=node)
        )
        target = Target(pods, namespace, name, "binding")
        async with self._chain.call(self._caller, "create", target) as call:
            await self._binding.bind(self._context(call), target, binding)
