"""OpenAPI v3 documents, made from the .proto files: enough for kubectl's validation and explain.

One document a group and version, made on first use and kept as bytes. Schemas carry the merge
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
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int-or-string": {
        "oneOf": [{"type": "integer"}, {"type": "string"}],
        "format": "int-or-string",
    },
    "any": {"type": "object"},
}
_METHODS = (
    ("get", "get"),
    ("put", "update"),
    ("post", "create"),
    ("delete", "delete"),
    ("patch", "patch"),
)


class OpenAPI:
    """The documents of a scheme."""

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._documents: dict[str, bytes] = {}

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
            kind = self._scheme.kind(resource.api_version, resource.kind)
            assert kind is not None
            message = schema.message(kind.module, kind.name)
            _collect(message, schemas)
            own = schemas[_name(message)]
            own["x-kubernetes-group-version-kind"] = [_gvk(resource)]
            own["properties"] = {**_TYPE_META, **own["properties"]}
            paths.update(_paths(resource, _name(message)))
        return {
            "openapi": "3.0.0",
            "info": {"title": TITLE, "version": VERSION},
            "paths": paths,
            "components": {"schemas": schemas},
        }


_TYPE_META = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}


def path_of(resource: Resource) -> str:
    """`api/v1` or `apis/GROUP/VERSION`."""
    if resource.group:
        return f"apis/{resource.group}/{resource.version}"
    return f"api/{resource.version}"


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _name(message: Message) -> str:
    return f"wherry.{message.module.replace('_', '.')}.{message.name}"


def _collect(message: Message, schemas: dict[str, Any]) -> None:
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
    for field in message.fields.values():
        made["properties"][field.name] = _property(field)
        _describe(made["properties"][field.name], f"{message.module}.{message.name}.{field.name}")
        if field.message is not None:
            _collect(field.message, schemas)


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
    if field.message is not None:
        one: dict[str, Any] = {"$ref": f"#/components/schemas/{_name(field.message)}"}
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


def _paths(resource: Resource, name: str) -> dict[str, Any]:
    """The operations of a resource, with the parameters that clients look for."""
    base = "/" + path_of(resource)
    base += "/namespaces/{namespace}/" if resource.namespaced else "/"
    collection, single = f"{base}{resource.plural}", f"{base}{resource.plural}/{{name}}"
    reference = {"$ref": f"#/components/schemas/{name}"}
    operations: dict[str, Any] = {collection: {}, single: {}}
    for method, verb in _METHODS:
        if verb in resource.verbs:
            path = collection if verb == "create" else single
            operations[path][method] = _operation(resource, verb, reference)
    return {path: found for path, found in operations.items() if found}


def _operation(resource: Resource, verb: str, reference: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": f"{verb}_{resource.group}_{resource.version}_{resource.plural}",
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": reference}}}
        },
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": _gvk(resource),
    }
    if verb in ("create", "update", "patch"):
        made["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string"}}
            for name in ("dryRun", "fieldManager", "fieldValidation")
        ]
    return made


def version_2() -> dict[str, Any]:
    """An OpenAPI v2 document that defines nothing: clients then validate nothing themselves."""
    return {"swagger": "2.0", "info": {"title": TITLE, "version": VERSION}, "paths": {}}


def version_2_protobuf() -> bytes:
    """The same as openapi.v2.Document: fields 1 swagger, 2 info (1 title, 2 version), 8 paths."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    info = field(1, TITLE.encode()) + field(2, VERSION.encode())
    return field(1, b"2.0") + field(2, info) + field(8, b"")
