"""OpenAPI v3 schemas of messages, under the names that Kubernetes gives them.

They carry the merge metadata that clients patch with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from common.api import schema
from common.api.schema import Field, Message
from common.api.scheme import Scheme

Schemas = dict[str, dict[str, Any]]
"""Schemas by name."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PACKAGES = {
    "meta_v1": _META,
    "metrics_v1beta1": "io.k8s.metrics.pkg.apis.metrics.v1beta1",
    "runtimeclass_v1": "io.k8s.api.node.v1",
}
"""Packages that Kubernetes calls otherwise than our modules."""
_SCALARS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
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
    "time": (
        f"{_META}.Time",
        {
            "description": "A time to the second, as RFC 3339 writes it.",
            "type": "string",
            "format": "date-time",
        },
    ),
    "microtime": (
        f"{_META}.MicroTime",
        {
            "description": "A time to the microsecond, as RFC 3339 writes it.",
            "type": "string",
            "format": "date-time",
        },
    ),
    "duration": (
        f"{_META}.Duration",
        {"description": "A length of time such as 90s or 1h30m.", "type": "string"},
    ),
    "fields": (
        f"{_META}.FieldsV1",
        {"description": "A set of fields, as server-side apply writes it.", "type": "object"},
    ),
    "any": (
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        {"description": "Any object.", "type": "object"},
    ),
}
"""Values of a special form, and scalars that clients know by a name."""
_PATCH = f"{_META}.Patch"
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


class Collector:
    """The schemas that one document refers to."""

    def __init__(self, scheme: Scheme) -> None:
        self.schemas: Schemas = {}
        self._scheme = scheme
        self._kinds: dict[tuple[str, str], list[str]] = {}
        for kind in scheme.kinds():
            self._kinds.setdefault((kind.module, kind.name), []).append(kind.api_version)

    def kind(self, api_version: str, name: str) -> dict[str, Any]:
        """A reference to a kind, whose schema is there from then on; any object if it is none."""
        kind = self._scheme.kind(api_version, name)
        if kind is None:
            return {"type": "object"}
        message = schema.message(kind.module, kind.name)
        self._collect(message)
        return _to(_name(message))

    def patch(self) -> dict[str, Any]:
        """A reference to the body of a patch, which may be anything."""
        self.schemas[_PATCH] = {
            "description": "The body of a PATCH request; its Content-Type says what it means.",
            "type": "object",
        }
        return _to(_PATCH)

    def _collect(self, message: Message) -> None:
        """Add the schema of a message, and of every message below it."""
        name = _name(message)
        if name in self.schemas:
            return
        made: dict[str, Any] = {"type": "object"}
        _describe(made, f"{message.module}.{message.name}")
        self.schemas[name] = made
        needed = [field.name for field in message.fields.values() if field.required]
        if needed:
            made["required"] = needed
        if message.atomic:
            made["x-kubernetes-map-type"] = "atomic"
        members: dict[str, Any] = {}
        for group_version in self._kinds.get((message.module, message.name), ()):
            members |= _TYPE_META
            group, _, version = group_version.rpartition("/")
            kind = {"group": group, "version": version, "kind": message.name}
            made.setdefault("x-kubernetes-group-version-kind", []).append(kind)
        for field in message.fields.values():
            members[field.name] = _property(field)
            _describe(members[field.name], f"{message.module}.{message.name}.{field.name}")
            if field.message is not None:
                self._collect(field.message)
            elif field.type in _NAMED:
                name, scalar = _NAMED[field.type]
                self.schemas[name] = scalar
        if members:
            made["properties"] = members


def _to(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _name(message: Message) -> str:
    package = _PACKAGES.get(message.module, f"io.k8s.api.{message.module.replace('_', '.')}")
    return f"{package}.{message.name}"


@cache
def _descriptions() -> dict[str, str]:
    """The comments of the .proto files, by message and by message and field."""
    text = resources.files("common.api").joinpath("descriptions.json").read_text("utf-8")
    descriptions: dict[str, str] = json.loads(text)
    return descriptions


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
        if field.choices:
            one["enum"] = list(field.choices)
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
