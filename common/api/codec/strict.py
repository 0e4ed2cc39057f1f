"""Explains what is wrong with an object: unknown and duplicate fields, wrong types, with paths.

Also accepts what Go's decoder accepts and msgspec does not: null for "unset", bare numbers as
quantities. Slow and thorough; runs only when the fast way has failed.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from common.api import errors
from common.api.types import Int32, Int64, MicroTime, Quantity, Time

DEPTH_MAX = 100
_GO_NAMES: dict[Any, str] = {str: "string", bool: "bool", bytes: "[]uint8", float: "float64"}
_JSON_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
}


def clean(plain: Any, cls: type[msgspec.Struct]) -> tuple[dict[str, Any], list[str]]:
    """(`plain` as msgspec can convert it, unknown fields in Kubernetes' words).

    Raises StatusError 400 for values of the wrong type.
    """
    findings: list[str] = []
    if not isinstance(plain, dict):
        raise _mismatch(plain, cls.__name__, cls.__name__, "", cls)
    return _Walk(cls, findings).struct(plain, cls, ()), findings


def duplicates(data: bytes) -> list[str]:
    """`duplicate field "data.a"` for every key that an object of the text has twice."""
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in items:
            if key in seen:
                found.append(key)
            seen[key] = value
        return seen

    document = json.loads(data, object_pairs_hook=pairs)
    if not found:
        return []
    return [f'duplicate field "{path}"' for path in _paths_of(document, set(found))]


def _paths_of(document: Any, keys: set[str], prefix: str = "") -> list[str]:
    """Paths of the members whose key is in `keys`: where a duplicate may have been."""
    if isinstance(document, list):
        return [p for i, v in enumerate(document) for p in _paths_of(v, keys, f"{prefix}[{i}]")]
    if not isinstance(document, dict):
        return []
    found = []
    for key, value in document.items():
        path = f"{prefix}.{key}" if prefix else key
        if key in keys:
            found.append(path)
        found += _paths_of(value, keys, path)
    return found


@cache
def _hints(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Types of the members by their JSON name."""
    hints = get_type_hints(cls, include_extras=True)
    return {info.encode_name: hints[info.name] for info in msgspec.structs.fields(cls)}


class _Walk:
    """One walk over an object; carries the root's name for messages."""

    def __init__(self, root: type[msgspec.Struct], findings: list[str]) -> None:
        self.root = root
        self.findings = findings

    def struct(self, plain: dict[str, Any], cls: Any, path: tuple[str, ...]) -> dict[str, Any]:
        """Clean the members of an object."""
        if len(path) > DEPTH_MAX:
            raise errors.bad_request("the body is nested too deeply")
        hints, result = _hints(cls), {}
        for key, value in plain.items():
            if key not in hints:
                self.findings.append(f'unknown field "{_dotted((*path, key))}"')
            elif value is not None:
                result[key] = self.value(value, hints[key], (*path, key), cls)
        return result

    def value(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean one value of type `hint`."""
        if hint is Any:
            return value
        origin, arguments = get_origin(hint), get_args(hint)
        if arguments and type(None) in arguments:
            rest = [argument for argument in arguments if argument is not type(None)]
            if len(rest) > 1:
                return self.scalar(value, Int32 | str, path, owner)
            return self.value(value, rest[0], path, owner)
        if origin is tuple:
            return self.items(value, arguments[0], path, owner)
        if origin is dict:
            return self.mapping(value, arguments[1], path, owner)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            if not isinstance(value, dict):
                raise self.mismatch(value, hint.__name__, path, owner)
            return self.struct(value, hint, path)
        return self.scalar(value, hint, path, owner)

    def items(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean the items of a list."""
        if not isinstance(value, list | tuple):
            raise self.mismatch(value, f"[]{_go_name(hint)}", path, owner)
        empty: Any = {} if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else ""
        return [
            self.value(empty if v is None else v, hint, (*path[:-1], f"{path[-1]}[{i}]"), owner)
            for i, v in enumerate(value)
        ]

    def mapping(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean the values of a map."""
        if not isinstance(value, dict):
            raise self.mismatch(value, f"map[string]{_go_name(hint)}", path, owner)
        return {
            k: self.value("" if v is None else v, hint, (*path, k), owner) for k, v in value.items()
        }

    def scalar(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Check one scalar; quantities may be bare numbers."""
        if hint is Quantity and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value) if isinstance(value, int) else repr(value)
        try:
            return msgspec.convert(value, hint)
        except (msgspec.ValidationError, ValueError) as error:
            raise self.mismatch(value, _go_name(hint), path, owner) from error

    def mismatch(self, value: Any, go: str, path: tuple[str, ...], owner: Any) -> Exception:
        """The error for a value of the wrong type at `path`."""
        return _mismatch(value, go, owner.__name__, _dotted(path), self.root)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


def _go_name(hint: Any) -> str:
    """The Go type that Kubernetes would name."""
    if hint == Int32:
        return "int32"
    if hint == Int64:
        return "int64"
    if hint in (Time, MicroTime, Quantity):
        return {Time: "Time", MicroTime: "MicroTime", Quantity: "Quantity"}[hint]
    return _GO_NAMES.get(hint, getattr(hint, "__name__", "value"))


def _mismatch(value: Any, go: str, owner: str, path: str, root: Any) -> errors.StatusError:
    """400 in the words of Go's decoder."""
    found = _JSON_NAMES.get(type(value), "null")
    if found == "number":
        found = f"number {value}"
    version = root.__module__.rsplit("_", 1)[-1]
    return errors.bad_request(
        f'{root.__name__} in version "{version}" cannot be handled as a {root.__name__}: json: '
        f"cannot unmarshal {found} into Go struct field {owner}.{path} of type {go}"
    )
