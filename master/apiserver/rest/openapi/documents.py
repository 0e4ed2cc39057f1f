"""The documents themselves, made once and kept as bytes."""

from __future__ import annotations

import hashlib
from typing import Any

from common.api.codec import json as codec
from common.api.resource import Resource
from master.apiserver.registry.catalogue import Catalogue, ResourceDef
from master.apiserver.rest.discovery import gvk
from master.apiserver.rest.openapi import operations, version2
from master.apiserver.rest.openapi.operations import path_of
from master.apiserver.rest.openapi.schemas import Collector

_VERSION_2 = "v2"
INFO = {"title": "Wherry", "version": "v1.36.2"}


class OpenAPI:
    """The documents of what is served."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._documents: dict[str, bytes] = {}
        self._gnostic: bytes | None = None
        catalogue.follow(self._forget)

    def _forget(self, resource: Resource) -> None:
        """Make the documents anew that a change of a resource is in."""
        for name in (path_of(resource), _VERSION_2):
            self._documents.pop(name, None)
        self._gnostic = None

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
            group, _, version = name.removeprefix("apis/").removeprefix("api/").rpartition("/")
            definitions = self._catalogue.of(group, version)
            if not definitions or path_of(definitions[0].resource) != name:
                return None
            self._documents[name] = codec.encode(self._make(definitions))
        return self._documents[name]

    def version_2(self) -> bytes:
        """/openapi/v2 as JSON."""
        if _VERSION_2 not in self._documents:
            made = [codec.decode_plain(self.document(name) or b"") for name in self._names()]
            self._documents[_VERSION_2] = codec.encode(version2.document(made, INFO))
        return self._documents[_VERSION_2]

    def version_2_gnostic(self) -> bytes:
        """The same as a protobuf message. The first call takes a tenth of a second."""
        if self._gnostic is None:
            from master.apiserver.rest.openapi import gnostic  # most masters are never asked for it

            self._gnostic = gnostic.document(codec.decode_plain(self.version_2()))
        return self._gnostic

    def _names(self) -> list[str]:
        return list(
            dict.fromkeys(path_of(resource) for resource in self._catalogue.scheme.resources())
        )

    def _make(self, served: list[ResourceDef]) -> dict[str, Any]:
        collector = Collector(self._catalogue.scheme)
        paths: dict[str, Any] = {}
        for definition in served:
            resource = definition.resource
            own = collector.kind(resource.api_version, resource.kind)
            keeps = definition.strategy.delete_answers_object
            refer = operations.References(
                own=own,
                listed=collector.kind(resource.api_version, f"{resource.kind}List"),
                below=[_below(collector, definition, name) for name in definition.subresources],
                options=collector.kind("v1", "DeleteOptions"),
                deleted=own if keeps else collector.kind("v1", "Status"),
                patch=collector.patch(),
            )
            paths.update(operations.paths(resource, refer))
        return {
            "openapi": "3.0.0",
            "info": INFO,
            "paths": paths,
            "components": {"schemas": collector.schemas},
        }


def _below(found: Collector, definition: ResourceDef, name: str) -> operations.Below:
    api_version, kind = definition.kind_of(name)
    handler = definition.subresources[name]
    schema = operations.TEXT_SCHEMA if handler.connects else found.kind(api_version, kind)
    is_conversation = bool(handler.authorized_as)
    return operations.Below(name, handler.verbs, gvk(api_version, kind), schema, is_conversation)
