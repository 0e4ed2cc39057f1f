"""The registry: every verb on every resource, for REST, gRPC and the master's own parts alike.

It looks up in the catalogue who answers, and lets no error of what lies below out untranslated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from common.api import errors
from common.api.errors import StatusError
from common.api.scheme import Scheme
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.handler import Handler, ObjectPage, Parameters, Shown
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import EventBatches, EventReceiver
from master.apiserver.registry.translation import answering, translated
from master.apiserver.request import patches
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target

# What a namespaced resource offers across all namespaces.
_ACROSS = ("list", "watch")


class Registry:
    """All resources of the API."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @property
    def catalogue(self) -> Catalogue:
        """What is served."""
        return self.pipeline.catalogue

    @property
    def scheme(self) -> Scheme:
        """The kinds that are served."""
        return self.pipeline.scheme

    def handler(self, target: Target) -> Handler:
        """Who answers for a target; raises StatusError 404 when nobody does."""
        definition = self.catalogue.require(target.resource)
        if not target.subresource:
            return definition.handler
        if target.subresource not in definition.subresources:
            raise errors.unknown_path()
        return definition.subresources[target.subresource]

    def connects_as(self, verb: str, target: Target) -> str:
        """The verb whose right is needed for a stream; '' for what is none, or is not served."""
        definition = self.catalogue.get(target.resource)
        handler = definition.subresources.get(target.subresource) if definition else None
        if handler is None or verb not in handler.connects:
            return ""
        return handler.authorized_as or verb

    def shown(self, target: Target) -> Shown:
        """How what a target answers is shown in tables."""
        return self.handler(target).shown or self.catalogue.require(target.resource).shown

    def check_verb(self, verb: str, target: Target) -> None:
        """404 for what is not served, 405 for a verb that it lacks."""
        handler, resource = self.handler(target), target.resource
        offered = (*handler.verbs, *handler.connects) if target.subresource else resource.verbs
        across = resource.namespaced and not target.namespace
        if verb not in offered or (across and verb not in _ACROSS):
            raise errors.method_not_allowed(verb, resource)

    @answering
    async def get(self, target: Target, *, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404."""
        return await self.handler(target).get(target, resource_version)

    @answering
    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        return await self.handler(target).list(target, options)

    async def watch(
        self, target: Target, options: WatchOptions, *, receiver: EventReceiver | None = None
    ) -> EventBatches:
        """Events of a resource; see `Reads.watch`."""
        try:
            async for events in self.handler(target).watch(target, options, receiver):
                yield events
        except StatusError:
            raise
        except Exception as error:
            raise translated(error, target.resource, "watch") from error

    @answering
    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """POST to a collection or to a subresource."""
        if target.name and not target.subresource:
            raise errors.method_not_allowed("create", target.resource)
        ctx.weight = body.weight
        return await self.handler(target).create(ctx, target, body)

    @answering
    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """PUT an object, its status or another subresource."""
        ctx.weight = body.weight
        return await self.handler(target).update(ctx, target, body)

    @answering
    async def patch(self, ctx: Context, target: Target, patch: Patch) -> bytes:
        """PATCH an object, its status or another subresource."""
        ctx.weight = len(patch.data)
        patcher = await self.pipeline.heavy(ctx.weight, patches.read, self.scheme, target, patch)
        return await self.handler(target).patch(ctx, target, patcher)

    @answering
    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        return await self.handler(target).delete(ctx, target, options)

    @answering
    async def connect(
        self, target: Target, parameters: Parameters
    ) -> AsyncGenerator[bytes, None] | None:
        """A stream of text from a subresource; None when there is nothing to tell."""
        return await self.handler(target).connect(target, parameters)
