"""OpenAPI v3 documents, made from the .proto files: enough for kubectl's validation and explain.

One document a group and version, made once and kept as bytes. Schemas carry the merge
metadata that clients patch with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from common.api import schema
from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.schema import Field, Message
from common.api.scheme import Scheme
from master.apiserver.rest import openapipaths
from master.apiserver.rest.openapipaths import path_of

TITLE = "Wherry"
VERSION = "v1.36.2"
V2_ACCEPT = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# As a Content-Type the @ would not be a media type.
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_SCALARS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
    "any": {"type": "object"},
}
_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {
            "description": "An amount such as 250m, 64Mi or 1e3: docs of Kubernetes say more.",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        },
    ),
    "int-or-string": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {
            "description": "A number, or a text such as a share in percent or the name of a port.",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
            "format": "int-or-string",
        },
    ),
}
"""Scalars that clients know by a name."""
_SERVED_BELOW = ("status", "scale")


Kinds = dict[tuple[str, str], list[str]]
"""(module, message) -> the group versions that have it as a kind."""


class OpenAPI:
    """The documents of a scheme."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._documents: dict[str, bytes] = {}
        self._kinds: Kinds = {}
        for kind in scheme.kinds():
            self._kinds.setdefault((kind.module, kind.name), []).append(kind.api_version)

    def index(self) -> dict[str, Any]:
        """/openapi/v3: where each group's document is, with a hash of its content."""
        paths = {}
        for resource in self._scheme.resources():
            name = path_of(resource)
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

    def _make(self, served: list[Resource]) -> dict[str, Any]:
        schemas: dict[str, Any] = {}
        paths: dict[str, Any] = {}
        for resource in served:
            below = {
                sub.name: self._reference(self._api_version(resource, sub.name), sub.kind, schemas)
                for sub in resource.subresources
                if sub.name in _SERVED_BELOW
            }
            found = openapipaths.paths(
                resource,
                self._reference(resource.api_version, resource.kind, schemas),
                self._reference(resource.api_version, f"{resource.kind}List", schemas),
                below,
                self._reference("v1", "DeleteOptions", schemas),
            )
            paths.update(found)
        return {
            "openapi": "3.0.0",
            "info": {"title": TITLE, "version": VERSION},
            "paths": paths,
            "components": {"schemas": schemas},
        }

    def _api_version(self, resource: Resource, subresource: str) -> str:
        return "autoscaling/v1" if subresource == "scale" else resource.api_version

    def _reference(self, api_version: str, name: str, schemas: dict[str, Any]) -> dict[str, Any]:
        """Where the schema of a kind stands, which is there from then on."""
        kind = self._scheme.kind(api_version, name)
        if kind is None:
            return {"type": "object"}
        message = schema.message(kind.module, kind.name)
        _collect(message, schemas, self._kinds)
        return _to(_name(message))


_TYPE_META = {
    "apiVersion": {
        "type": "string",
        "description": "The group and version of this object's schema, such as v1 or apps/v1.",
    },
    "kind": {
        "type": "string",
        "description": "The kind of this object, in CamelCase. It never changes.",
    },
}


def _to(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _name(message: Message) -> str:
    return f"wherry.{message.module.replace('_', '.')}.{message.name}"


def _collect(message: Message, schemas: dict[str, Any], kinds: Kinds) -> None:
    """Add the schema of a message, and of every message below it."""
    name = _name(message)
    if name in schemas:
        return
    made: dict[str, Any] = {"type": "object", "properties": {}}
    _describe(made, f"{message.module}.{message.name}")
    schemas[name] = made
    needed = [field.name for field in message.fields.values() if field.required]
    if needed:
        made["required"] = needed
    if message.atomic:
        made["x-kubernetes-map-type"] = "atomic"
    for group_version in kinds.get((message.module, message.name), ()):
        made["properties"] = dict(_TYPE_META)
        group, _, version = group_version.rpartition("/")
        kind = {"group": group, "version": version, "kind": message.name}
        made.setdefault("x-kubernetes-group-version-kind", []).append(kind)
    for field in message.fields.values():
        made["properties"][field.name] = _property(field)
        _describe(made["properties"][field.name], f"{message.module}.{message.name}.{field.name}")
        if field.message is not None:
            _collect(field.message, schemas, kinds)
        elif field.type in _NAMED:
            name, scalar = _NAMED[field.type]
            schemas[name] = scalar


@cache
def _descriptions() -> dict[str, str]:
    """The comments of the .proto files, by message and by message and field."""
    text = resources.files("common.api").joinpath("descriptions.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def _describe(made: dict[str, Any], name: str) -> None:
    """Say what a message or a field is, where its comment does."""
    if name in _descriptions():
        made["description"] = _descriptions()[name]


def _property(field: Field) -> dict[str, Any]:
    if field.message is not None or field.type in _NAMED:
        one = _to(_name(field.message) if field.message else _NAMED[field.type][0])
        if not field.repeated and not field.is_map:
            one = {"allOf": [one]}
    else:
        one = dict(_SCALARS[field.type])
    if field.is_map:
        value = {"type": "array", "items": one} if field.repeated else one
        made: dict[str, Any] = {"type": "object", "additionalProperties": value}
    elif field.repeated:
        made = {"type": "array", "items": one}
    else:
        made = one
    made.update(_extensions(field))
    return made


def _extensions(field: Field) -> Iterator[tuple[str, Any]]:
    """How patches treat the member."""
    if field.patch_strategy:
        yield "x-kubernetes-patch-strategy", ",".join(field.patch_strategy)
    if field.patch_merge_key:
        yield "x-kubernetes-patch-merge-key", field.patch_merge_key
    if field.list_type:
        yield "x-kubernetes-list-type", field.list_type
    if field.list_map_keys:
        yield "x-kubernetes-list-map-keys", list(field.list_map_keys)
    if field.map_type:
        yield "x-kubernetes-map-type", field.map_type


def version_2() -> dict[str, Any]:
    """An OpenAPI v2 document that defines nothing: clients then validate nothing themselves."""
    return {"swagger": "2.0", "info": {"title": TITLE, "version": VERSION}, "paths": {}}


def version_2_protobuf() -> bytes:
    """The same as openapi.v2.Document: fields 1 swagger, 2 info (1 title, 2 version), 8 paths."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    info = field(1, TITLE.encode()) + field(2, VERSION.encode())
    return field(1, b"2.0") + field(2, info) + field(8, b"")
