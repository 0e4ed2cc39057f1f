"""The wire format must never change: every field's number, type and behaviour against a list."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.api import schema

GOLDEN = Path(__file__).parent / "golden" / "fields.tsv"
MODULES = (
    "apidiscovery_v2",
    "apps_v1",
    "authentication_v1",
    "authorization_v1",
    "autoscaling_v1",
    "certificates_v1",
    "coordination_v1",
    "core_v1",
    "discovery_v1",
    "events_v1",
    "meta_v1",
    "metrics_v1beta1",
    "rbac_v1",
)
_SCALARS = {1: "double", 3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}


def rows() -> Iterator[tuple[str, ...]]:
    """(module, message, number, field, type, presence, patch and list behaviour)."""
    for module in MODULES:
        messages = importlib.import_module(f"protos.{module}_pb2").DESCRIPTOR.message_types_by_name
        for name, message in sorted(messages.items()):
            for field in sorted(message.fields, key=lambda found: found.number):
                yield (
                    module,
                    name,
                    str(field.number),
                    field.name,
                    type_of(field),
                    presence(field),
                    " ".join(flags(field)),
                )


def type_of(field: Any) -> str:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        return f"map<string,{type_of(nested.fields_by_name['value'])}>"
    name = nested.full_name.removeprefix("wherry.") if nested else _SCALARS[field.type]
    return f"[]{name}" if field.is_repeated else name


def presence(field: Any) -> str:
    for option in ("inline", "null", "always"):
        if schema.option(field, option):
            return option
    if not field.is_repeated and field.has_presence:
        return "optional"
    return "plain"


def flags(field: Any) -> Iterator[str]:
    if schema.option(field, "required"):
        yield "required"
    strategy, key = (schema.option(field, f"patch_{name}") for name in ("strategy", "merge_key"))
    if strategy:
        yield f"patch={strategy}:{key}" if key else f"patch={strategy}"
    kind, keys = schema.option(field, "list_type"), schema.option(field, "list_map_keys")
    if kind:
        yield f"list={kind}:{','.join(keys)}" if keys else f"list={kind}"
    if schema.option(field, "map_type"):
        yield f"map={schema.option(field, 'map_type')}"


def test_the_wire_format_stays() -> None:
    expected = [line.split("\t") for line in GOLDEN.read_text().splitlines()]
    assert [list(row) for row in rows()] == expected
