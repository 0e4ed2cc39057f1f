"""Handler: who answers for a resource, or for a subresource; a subclass has the verbs that it has.

What many resources share is here in the registry: `stored.py`, `view.py`, `computed.py`; what one
kind alone has is in its room in resources/.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from common.api import errors
from common.api.resource import Column, Resource
from master.apiserver.registry.reads import EventBatches, EventReceiver
from master.apiserver.request.bodies import Body, Patcher
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions, ListOptions, WatchOptions
from master.apiserver.request.target import Target

VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")
Cells = Callable[[dict[str, Any], datetime], Mapping[str, Any]]
"""(object, now) -> the cells that are computed rather than copied, by column name."""
Parameters = Mapping[str, str]
"""Those of a request's query."""


class ObjectPage(NamedTuple):
    """A page of a list, as bytes."""

    items: Sequence[bytes]
    revision: int
    continue_token: str
    remaining: int | None


class Shown(NamedTuple):
    """How objects are shown in tables."""

    columns: Sequence[Column]
    cells: Cells | None = None


class Handler:
    """Refuses every verb with 405; subclasses answer some."""

    api_version: ClassVar[str] = ""
    """Of the kind that is read and written, where it is not the resource's own."""
    shown: ClassVar[Shown | None] = None
    """How its objects are shown, where that is not as those of the resource."""
    is_action: ClassVar[bool] = False
    """What is posted asks for something to be done: it has no metadata to show."""
    connects: ClassVar[Sequence[str]] = ()
    """The verbs that a stream answers: of text (`connect`), or one of those of `duplex.py`."""
    authorized_as: ClassVar[str] = ""
    """The verb whose right such a stream needs, where that is not the request's own."""

    @property
    def verbs(self) -> list[str]:
        """The verbs that are answered, in order."""
        own = [verb for verb in VERBS if getattr(type(self), verb) is not getattr(Handler, verb)]
        return sorted({*own, *self.connects})

    def stores(self, resource: Resource) -> bool:
        """Whether what it shows of a resource are that resource's own stored objects."""
        return False

    async def get(self, target: Target, resource_version: str = "") -> bytes:
        """One object; raises StatusError 404."""
        raise errors.method_not_allowed("get", target.resource)

    async def list(self, target: Target, options: ListOptions) -> ObjectPage:
        """A page of objects."""
        raise errors.method_not_allowed("list", target.resource)

    def watch(
        self, target: Target, options: WatchOptions, receiver: EventReceiver | None = None
    ) -> EventBatches:
        """Events; see `Reads.watch`. A receiver may be left alone: then all are yielded."""
        raise errors.method_not_allowed("watch", target.resource)

    async def create(self, ctx: Context, target: Target, body: Body) -> bytes:
        """POST to a collection, or to a subresource."""
        raise errors.method_not_allowed("create", target.resource)

    async def update(self, ctx: Context, target: Target, body: Body) -> bytes:
        """PUT."""
        raise errors.method_not_allowed("update", target.resource)

    async def patch(self, ctx: Context, target: Target, patcher: Patcher) -> bytes:
        """PATCH."""
        raise errors.method_not_allowed("patch", target.resource)

    async def delete(
        self, ctx: Context, target: Target, options: DeleteOptions
    ) -> tuple[bytes, bool]:
        """Delete an object: (its last or present state, whether it is gone already)."""
        raise errors.method_not_allowed("delete", target.resource)

    async def connect(
        self, target: Target, parameters: Parameters
    ) -> AsyncGenerator[bytes, None] | None:
        """A stream of text in answer to one of `connects`; None when there is nothing to tell.

        The caller closes it. It raises StatusError, at its start or later.
        """
        raise errors.method_not_allowed("connect", target.resource)
