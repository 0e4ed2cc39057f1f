"""Subresources that change one part of a pod's spec, which an update of the pod itself may not."""

from __future__ import annotations

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.stored import Stored, replacing
from master.apiserver.request import bodies
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


class PodPart(Handler):
    """GET, PUT and PATCH with a whole pod, of which only that part counts."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._pipeline = stored.pipeline

    def changed(self, target: Target, pod: Pod, wanted: Pod) -> Pod:
        """The pod with that part as it is wanted; raises StatusError 403 or 422."""
        raise NotImplementedError

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """The whole pod."""
        return await self._stored.get(target, resource_version)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """Take that part of the body."""
        wanted = replacing(target, bodies.decode(ctx, body, Pod, "v1"))

        def change(pod: Pod) -> Pod:
            return self.changed(target, pod, wanted(pod))

        return await self._pipeline.update(ctx, target, change)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """Patch it."""

        def change(pod: Pod) -> Pod:
            wanted = bodies.patched(ctx, codec.encode(pod), patcher, Pod)
            return self.changed(target, pod, wanted)

        return await self._pipeline.update(ctx, target, change)
