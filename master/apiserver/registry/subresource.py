"""Subresource: a path below an object, such as `scale`; each overrides the verbs that it has."""

from __future__ import annotations

from common.api import errors
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target


class Subresource:
    """Refuses every verb with 405; subclasses answer some."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def get(self, target: Target) -> bytes:
        """What the subresource shows."""
        raise errors.method_not_allowed("get", target.resource)

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """POST to it."""
        raise errors.method_not_allowed("create", target.resource)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """PUT to it."""
        raise errors.method_not_allowed("update", target.resource)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """PATCH it."""
        raise errors.method_not_allowed("patch", target.resource)
