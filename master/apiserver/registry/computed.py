"""Handlers of what nobody stores: figures that are computed, and questions that are answered."""

from __future__ import annotations

from typing import Any, Protocol

from common.api import errors
from common.api.codec import json as codec
from common.api.resource import Resource
from common.security.identity import Identity
from master.apiserver.registry.filters import parse
from master.apiserver.registry.handler import Handler, ObjectPage
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.options import ListOptions
from master.apiserver.request.target import Target
from master.storage.entry import Entry


class Figures(Protocol):
    """Makes objects when they are asked for."""

    def list(self, namespace: str) -> list[bytes]:
        """The objects of a namespace as of now; all when it is empty."""
        ...


class Review(Protocol):
    """Answers questions."""

    def answer(self, user: Identity, resource: Resource, namespace: str, obj: Any) -> None:
        """Fill in the status; `namespace` is the URL's. Raises StatusError 400 or 422."""
        ...


class Computed(Handler):
    """Objects that are made when they are asked for."""

    def __init__(self, figures: Figures, pipeline: Pipeline) -> None:
        self._figures = figures
        self._pipeline = pipeline

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404."""
        for data in self._figures.list(target.namespace):
            if codec.decode_plain(data)["metadata"]["name"] == target.name:
                return data
        raise errors.not_found(target.resource, target.name)

    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """All objects that the selectors choose; raises StatusError 400."""
        items = self._figures.list(target.namespace)
        offered = self._pipeline.catalogue.require(target.resource).fields
        wanted = parse(offered, options.label_selector, options.field_selector)
        chosen = items if wanted.empty else [one for one in items if wanted.matches(_entry(one))]
        return ObjectPage(chosen, self._pipeline.cache.revision, "", None)


class Reviewed(Handler):
    """Questions that are created, and answered in their status."""

    def __init__(self, review: Review, pipeline: Pipeline) -> None:
        self._review = review
        self._pipeline = pipeline

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Answer, and store nothing."""
        resource = target.resource
        cls = self._pipeline.scheme.struct_of(resource)
        obj = await self._pipeline.heavy(
            ctx.weight, bodies.decode, ctx, body, cls, resource.api_version
        )
        self._review.answer(ctx.user, resource, target.namespace, obj)
        return codec.encode(obj)


def _entry(data: bytes) -> Entry:
    meta = codec.decode_plain(data)["metadata"]
    path = [name for name in (meta.get("namespace", ""), meta["name"]) if name]
    return Entry("", data, 0, 0, path)
