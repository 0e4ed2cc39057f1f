"""Subresource: a path below an object, such as `scale`; each overrides the verbs that it has."""

from __future__ import annotations

from common.api import errors
from common.api.resource import Resource
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context


class Subresource:
    """Refuses every verb with 405; subclasses answer some."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """What the subresource shows."""
        raise errors.method_not_allowed("get", resource)

    async def create(
        self, ctx: Context, resource: Resource, namespace: str, name: str, body: Body
    ) -> bytes:
        """POST to it."""
        raise errors.method_not_allowed("create", resource)

    async def update(
        self, ctx: Context, resource: Resource, namespace: str, name: str, body: Body
    ) -> bytes:
        """PUT to it."""
        raise errors.method_not_allowed("update", resource)

    async def patch(
        self, ctx: Context, resource: Resource, namespace: str, name: str, patcher: Patcher
    ) -> bytes:
        """PATCH it."""
        raise errors.method_not_allowed("patch", resource)
