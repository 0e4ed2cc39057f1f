"""Tables: what `kubectl get` shows. Cells are copied by path or computed by the kind's function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from common.api.codec import json as codec
from common.api.resource import Column
from master.apiserver.registry.handler import Shown
from master.apiserver.resources.lib.cells import age


def definitions(shown: Shown) -> list[dict[str, Any]]:
    """The columnDefinitions of a Table."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": "name" if column.name == "Name" else "",
            "description": "",
            "priority": column.priority,
        }
        for column in shown.columns
    ]


def row(shown: Shown, data: bytes, now: datetime, include: str) -> dict[str, Any]:
    """One row; `include` is includeObject: None, Metadata (the default) or Object."""
    plain = codec.decode_plain(data)
    computed = shown.cells(plain, now) if shown.cells else {}
    cells = [_cell(column, plain, computed, now) for column in shown.columns]
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
    value: Any = plain
    for name in _PATH.findall(column.path):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return {"integer": 0, "boolean": False, "date": None}.get(column.type, "")
    return value


def table(
    shown: Shown, rows: list[dict[str, Any]], metadata: dict[str, Any], *, head: bool = True
) -> dict[str, Any]:
    """A Table of rows; watch events after the first leave the head out."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions(shown) if head else None,
        "rows": rows,
    }
