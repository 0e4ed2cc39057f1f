"""The documents themselves, made once and kept as bytes."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.scheme import Scheme
from master.apiserver.rest.discovery import (
    SUBRESOURCE_VERBS,
    group_version,
    served_subresources,
)
from master.apiserver.rest.openapi import operations, version2
from master.apiserver.rest.openapi.operations import path_of
from master.apiserver.rest.openapi.schemas import Collector

INFO = {"title": "Wherry", "version": "v1.36.2"}


class OpenAPI:
    """The documents of a scheme."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._documents: dict[str, bytes] = {}

    def index(self) -> dict[str, Any]:
        """/openapi/v3: where each group's document is, with a hash of its content."""
        paths = {}
        for name in self._names():
            digest = hashlib.sha256(self.document(name) or b"").hexdigest()[:32].upper()
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}
        return {"paths": paths}

    def document(self, name: str) -> bytes | None:
        """The document of `api/v1`, `apis/apps/v1`, ...; None when it is not served."""
        if name not in self._documents:
            found = [r for r in self._scheme.resources() if path_of(r) == name]
            if not found:
                return None
            self._documents[name] = codec.encode(self._make(found))
        return self._documents[name]

    def version_2(self) -> bytes:
        """/openapi/v2 as JSON."""
        return self._version_2

    def version_2_gnostic(self) -> bytes:
        """The same as a protobuf message. The first call takes a tenth of a second."""
        return self._version_2_gnostic

    @cached_property
    def _version_2(self) -> bytes:
        made = [codec.decode_plain(self.document(name) or b"") for name in self._names()]
        return codec.encode(version2.document(made, INFO))

    @cached_property
    def _version_2_gnostic(self) -> bytes:
        from master.apiserver.rest.openapi import gnostic  # most masters are never asked for it

        return gnostic.document(codec.decode_plain(self._version_2))

    def _names(self) -> list[str]:
        return list(dict.fromkeys(path_of(resource) for resource in self._scheme.resources()))

    def _make(self, served: list[Resource]) -> dict[str, Any]:
        found = Collector(self._scheme)
        paths: dict[str, Any] = {}
        for resource in served:
            refer = operations.References(
                own=found.kind(resource.api_version, resource.kind),
                listed=found.kind(resource.api_version, f"{resource.kind}List"),
                below=[_below(found, resource, *sub) for sub in served_subresources(resource)],
                options=found.kind("v1", "DeleteOptions"),
                status=found.kind("v1", "Status"),
                patch=found.patch(),
            )
            paths.update(operations.paths(resource, refer))
        return {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": paths,
            "components": {"schemas": found.schemas},
        }


def _below(found: Collector, resource: Resource, name: str, kind: str) -> operations.Below:
    api_version = "/".join(filter(None, group_version(resource, kind)))
    schema = operations.TEXT_SCHEMA if name == "log" else found.kind(api_version, kind)
    return operations.Below(
        name, SUBRESOURCE_VERBS[name], operations.gvk(api_version, kind), schema
    )
