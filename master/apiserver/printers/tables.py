"""Tables: what `kubectl get` shows. Cells are copied by path or computed by printers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from common.api.codec import json as codec
from common.api.resource import Column, Resource
from master.apiserver.printers import PRINTERS
from master.apiserver.printers.cells import age

SCALE = Resource(
    group="autoscaling",
    version="v1",
    kind="Scale",
    plural="scales",
    singular="scale",
    namespaced=True,
    columns=(
        Column("Name", "string", "", 0),
        Column("Desired", "integer", ".spec.replicas", 0),
        Column("Available", "integer", ".status.replicas", 0),
        Column("Age", "string", "", 0),
    ),
)
"""What the path `scale` of any resource shows."""


def columns(resource: Resource) -> tuple[Column, ...]:
    """The columns of a resource; kinds without any of their own show name and age."""
    return resource.columns or (Column("Name", "string", "", 0), Column("Age", "string", "", 0))


def definitions(resource: Resource) -> list[dict[str, Any]]:
    """The columnDefinitions of a Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": "name" if column.name == "Name" else "",
            "description": "",
            "priority": column.priority,
        }
        for column in columns(resource)
    ]


def row(resource: Resource, data: bytes, now: datetime, include: str) -> dict[str, Any]:
    """One row; `include` is includeObject: None, Metadata (the default) or Object."""
    plain = codec.decode_plain(data)
    printer = PRINTERS.get(resource.kind)
    computed = printer(plain, now) if printer else {}
    cells = [_cell(column, plain, computed, now) for column in columns(resource)]
    made: dict[str, Any] = {"cells": cells}
    if include == "Object":
        made["object"] = msgspec.Raw(data)
    elif include != "None":
        made["object"] = partial(plain)
    return made


def partial(plain: dict[str, Any]) -> dict[str, Any]:
    """The PartialObjectMetadata of an object."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": plain.get("metadata", {}),
    }


def _cell(column: Column, plain: Any, computed: Mapping[str, Any], now: datetime) -> Any:
    if column.name in computed:
        return computed[column.name]
    if column.path:
        return _at(plain, column)
    if column.name == "Name":
        return plain["metadata"].get("name", "")
    if column.name == "Age":
        return age(plain["metadata"].get("creationTimestamp"), now)
    return "<none>"


_PATH = re.compile(r"\.([A-Za-z0-9]+)")


def _at(plain: Any, column: Column) -> Any:
    """The member at a column's path; the zero value of the column's type when there is none."""
    found: Any = plain
    for name in _PATH.findall(column.path):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        return {"integer": 0, "boolean": False, "date": None}.get(column.type, "")
    return found


def table(
    resource: Resource, rows: list[dict[str, Any]], metadata: dict[str, Any], *, head: bool = True
) -> dict[str, Any]:
    """A Table of rows; watch events after the first leave the head out."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions(resource) if head else None,
        "rows": rows,
    }
