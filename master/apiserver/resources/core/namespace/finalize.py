"""The finalize subresource of namespaces: sets spec.finalizers, and lets an empty one go."""

from __future__ import annotations

from common.api.types.core_v1 import Namespace
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


class Finalize(Handler):
    """PUT of namespaces/NAME/finalize."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Take the finalizers of the body."""
        wanted = bodies.decode(ctx, body, Namespace, "v1")

        def change(current: Namespace) -> Namespace:
            current.spec.finalizers = wanted.spec.finalizers
            current.metadata.resourceVersion = wanted.metadata.resourceVersion
            return current

        return await self._pipeline.update(ctx, target, change)
