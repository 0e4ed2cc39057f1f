"""Nothing new in a namespace that is missing or terminating.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#namespacelifecycle
"""

from __future__ import annotations

from typing import Any

import msgspec

from common.api import errors
from common.api.scheme import Scheme
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.watchcache import WatchCache


class _Metadata(msgspec.Struct):
    deletionTimestamp: str | None = None


class _Namespace(msgspec.Struct):
    metadata: _Metadata


class NamespaceLifecycle:
    """Admission of namespaced creates."""

    def __init__(self, cache: WatchCache, scheme: Scheme) -> None:
        self._cache = cache
        self._namespaces = scheme.require("", "v1", "namespaces")

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Raise StatusError 404 or 403 when the namespace cannot take a new object."""
        if old is not None or not target.resource.namespaced:
            return
        name = new.metadata.namespace
        entry = self._cache.find(self._namespaces.plural, name)
        if entry is None:
            raise errors.not_found(self._namespaces, name)
        namespace = msgspec.json.decode(entry.data, type=_Namespace)
        if namespace.metadata.deletionTimestamp:
            why = f"unable to create new content in namespace {name} because it is being terminated"
            error = errors.forbidden_request(target.resource, new.metadata.name, why)
            assert error.details is not None
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {name} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error
