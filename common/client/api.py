"""ApiClient: what a program may ask of the API. Objects are bytes of Kubernetes JSON.

Implementations: in-process in the master (master.apiserver.local), over HTTPS (common.client.rest).
Every method raises common.api.errors.StatusError for an answer that is not a success.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from common.api.resource import Resource


class WatchEvent(NamedTuple):
    """A change: ADDED, MODIFIED, DELETED or BOOKMARK, and the object as of then."""

    type: str
    revision: int
    data: bytes


class ObjectList(NamedTuple):
    """Objects of one resource at one revision."""

    items: list[bytes]
    revision: int


class ApiClient(Protocol):
    """The verbs of the API on any resource. `namespace` is '' for cluster-scoped resources."""

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        """The most recent state of an object (a quorum read)."""
        ...

    async def list(
        self, resource: Resource, namespace: str = "", *, resource_version: str = ""
    ) -> ObjectList:
        """All objects, of all namespaces when `namespace` is empty; "0" takes any cached state."""
        ...

    def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        """Changes after a revision, in order; raises StatusError 410 when it is too old."""
        ...

    async def create(self, resource: Resource, namespace: str, data: bytes) -> bytes:
        """Create an object; answers it as stored."""
        ...

    async def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        data: bytes,
        *,
        subresource: str = "",
    ) -> bytes:
        """Replace an object; its resourceVersion, when set, must be the current one."""
        ...

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
        ...

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
        """Delete the object that has this uid, and no later one of the same name."""
        ...

    async def bind(self, namespace: str, name: str, *, uid: str, node: str) -> None:
        """Bind a pod to a node; 409 when it is bound already."""
        ...
