"""YAML in: one document to plain values, without aliases, dates or surprises in size."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from common.api import errors

SIZE_MAX_BYTES = 1 << 20


class _Loader(yaml.CSafeLoader):
    """The safe C loader with the types of JSON only: times are strings, and so is `22:30`."""


_INT = re.compile("[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)"
    r"|\.(nan|NaN|NAN)"
)
_PATTERNS = {
    "tag:yaml.org,2002:int": re.compile(f"({_INT.pattern})$"),
    "tag:yaml.org,2002:float": re.compile(f"({_FLOAT.pattern})$"),
}
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, _PATTERNS.get(tag, pattern))
        for tag, pattern in found
        if tag != "tag:yaml.org,2002:timestamp"
    ]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def decode(data: bytes) -> Any:
    """Plain values of a YAML document. Raises StatusError 400 or 413."""
    try:
        _check(data)
        return _json(yaml.load(data, Loader=_Loader))  # noqa: S506 (a subclass of the safe loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise errors.bad_request(f"error converting YAML to JSON: {error}") from error


def decode_all(data: bytes) -> list[Any]:
    """Plain values of every document of a file, empty ones left out; raises like decode."""
    try:
        _check(data)
        found = [_json(document) for document in yaml.load_all(data, Loader=_Loader)]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise errors.bad_request(f"error converting YAML to JSON: {error}") from error
    return [document for document in found if document is not None]


def _check(data: bytes) -> None:
    """Refuse what is too large, too deep, or has aliases: a few bytes of them are gigabytes."""
    if len(data) > SIZE_MAX_BYTES:
        raise errors.too_large(f"YAML is limited to {SIZE_MAX_BYTES} bytes")
    depth = 0
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise errors.bad_request("YAML aliases are not accepted")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > 100:
                raise errors.too_deep()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _json(value: Any) -> Any:
    """The same as values of JSON; raises ValueError for what JSON does not have."""
    if isinstance(value, dict):
        return {_key(key): _json(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"json: unsupported value: {value}")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"unsupported type: {type(value).__name__}")


def _key(key: Any) -> str:
    """Numbers and booleans are keys by their text, as Kubernetes has it."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return str(key)
    raise ValueError(f"unsupported map key of type: {type(key).__name__}")
