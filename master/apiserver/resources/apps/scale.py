"""The scale subresource: autoscaling/v1 Scale as a small window on `spec.replicas`."""

from __future__ import annotations

from typing import Any

from common.api import errors, labels
from common.api.codec import json as codec
from common.api.resource import Column
from common.api.types.autoscaling_v1 import Scale, ScaleSpec, ScaleStatus
from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from master.apiserver.registry.handler import Handler, Shown
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


def scale_of(obj: Any) -> Scale:
    """The Scale that shows an object's replicas."""
    meta, selector = obj.metadata, obj.spec.selector
    if selector is None or isinstance(selector, LabelSelector):
        text = str(labels.from_label_selector(selector)) if selector else ""
    else:
        text = str(labels.from_map(selector))
    return Scale(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resourceVersion=meta.resourceVersion,
            creationTimestamp=meta.creationTimestamp,
        ),
        spec=ScaleSpec(replicas=obj.spec.replicas or 0),
        status=ScaleStatus(replicas=obj.status.replicas, selector=text),
    )


class ScaleSubresource(Handler):
    """GET, PUT and PATCH of `scale`, for every kind that lists it."""

    api_version = "autoscaling/v1"
    shown = Shown(
        (
            Column("Name", "string", "", 0),
            Column("Desired", "integer", ".spec.replicas", 0),
            Column("Available", "integer", ".status.replicas", 0),
            Column("Age", "string", "", 0),
        )
    )

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The Scale of an object."""
        current = await self._pipeline.read(target)
        obj: Any = codec.decode(current.value, self._pipeline.scheme.struct_of(target.resource))
        obj.metadata.resourceVersion = str(current.revision)
        return codec.encode(scale_of(obj))

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Set the replicas to those of a Scale."""
        wanted = bodies.decode(ctx, body, Scale, "autoscaling/v1")
        bodies.check_name(target.name, wanted.metadata.name)
        return await self._apply(ctx, target, lambda _: wanted)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Set the replicas to what the patch makes of the Scale."""
        return await self._apply(
            ctx,
            target,
            lambda scale: bodies.patched(ctx, codec.encode(scale), patcher, Scale),
        )

    async def _apply(self, ctx: Context, target: Target, make: Any) -> bytes:
        resource, name = target.resource, target.name

        def change(obj: Any) -> Any:
            wanted: Scale = make(scale_of(obj))
            if wanted.spec.replicas < 0:
                text = "must be greater than or equal to 0"
                finding = errors.invalid("spec.replicas", wanted.spec.replicas, text)
                raise errors.invalid_object("autoscaling", "Scale", name, [finding])
            if wanted.metadata.uid not in ("", obj.metadata.uid):
                raise errors.conflict(resource, name, errors.MODIFIED)
            obj.spec.replicas = wanted.spec.replicas
            obj.metadata.resourceVersion = wanted.metadata.resourceVersion
            return obj

        data = await self._pipeline.update(ctx, target._replace(subresource=""), change)
        return codec.encode(scale_of(codec.decode(data, self._pipeline.scheme.struct_of(resource))))
