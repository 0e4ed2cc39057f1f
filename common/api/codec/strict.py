"""Explains what is wrong with an object: unknown and duplicate fields, wrong types, with paths.

Also accepts what Go's decoder accepts and msgspec does not: null for "unset", bare numbers as
quantities. Slow and thorough; runs only when the fast way has failed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # unknown to typeshed
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from common.api import errors, quantity
from common.api.codec import tolerance
from common.api.errors import FINDINGS_MAX
from common.api.types import Int32, Int64, MicroTime, Quantity, Time

C_MAX_BYTES = 512 * 1024
"""Of more, C would hold the interpreter's lock for longer than the event loop can wait."""
DEPTH_MAX = 100
PART_MAX = 256
"""How much of a key stands in a finding."""
_GO_NAMES: dict[Any, str] = {str: "string", bool: "bool", bytes: "[]uint8", float: "float64"}
_JSON_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
}
_INT_OR_STRING: Any = Int32 | str


_AS_IT_IS: dict[Any, type] = {str: str, bool: bool}
"""Types of which a value has nothing to be looked at."""


class _Key(str):
    """A key of a map, as a part of a path."""


def clean(plain: Any, cls: type[msgspec.Struct]) -> tuple[dict[str, Any], list[str]]:
    """(`plain` as msgspec can convert it, unknown fields in Kubernetes' words).

    Raises StatusError 400 for values of the wrong type.
    """
    findings: list[str] = []
    if not isinstance(plain, dict):
        raise _mismatch(plain, cls.__name__, cls.__name__, "", cls)
    return _Walk(cls, findings).struct(plain, cls, ()), findings


class _Repeating(dict[str, Any]):
    """An object some of whose keys stood in the text more than once."""

    repeated: tuple[str, ...] = ()


def duplicates(data: bytes) -> list[str]:
    """`duplicate field "data.a"` for the first keys that an object of the text has twice."""
    has_duplicates = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_duplicates
        made = dict(items)
        if len(made) == len(items):
            return made
        has_duplicates, counts = True, Counter(key for key, _ in items)
        repeating = _Repeating(made)
        repeating.repeated = tuple(key for key, times in counts.items() if times > 1)
        return repeating

    decoder = json.JSONDecoder(object_pairs_hook=pairs, parse_int=len)
    if len(data) > C_MAX_BYTES:
        decoder.scan_once = py_make_scanner(decoder)  # type: ignore[attr-defined]
    document = decoder.decode(data.decode(errors="surrogatepass"))
    places = _repeated(document, None) if has_duplicates else iter(())
    return [f'duplicate field "{_text(place)}"' for place in islice(places, FINDINGS_MAX)]


_Place = tuple["_Place | None", str | int]
"""A member or an item, with where that stands which it is in; a text is made of few."""


def _repeated(value: Any, place: _Place | None) -> Iterator[_Place]:
    """Where the keys stand that objects have twice."""
    if isinstance(value, _Repeating):
        yield from ((place, key) for key in value.repeated)
    if isinstance(value, dict):
        for key, member in value.items():
            if isinstance(member, dict | list):
                yield from _repeated(member, (place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _repeated(item, (place, index))


def _text(place: _Place | None) -> str:
    """`spec.ports[0].name`."""
    parts: list[str] = []
    while place is not None:
        place, part = place
        parts.append(f"[{part}]" if isinstance(part, int) else f".{part[:PART_MAX]}")
    return "".join(reversed(parts)).removeprefix(".")


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
            raise errors.too_deep()
        hints, result = _hints(cls), {}
        for key, value in plain.items():
            if key not in hints:
                self.unknown((*path, key))
            elif value is not None:
                hint = hints[key]
                good = type(value) is _AS_IT_IS.get(hint)
                result[key] = value if good else self.value(value, hint, (*path, key), cls)
        return result

    def unknown(self, path: tuple[str, ...]) -> None:
        """Take note of a member that the kind does not have."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f'unknown field "{_dotted(path)}"')

    def value(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean one value of type `hint`."""
        if hint is Any:
            return value
        origin, arguments = get_origin(hint), get_args(hint)
        if arguments and type(None) in arguments:
            rest = [argument for argument in arguments if argument is not type(None)]
            if len(rest) > 1:
                return self.scalar(value, _INT_OR_STRING, path, owner)
            return self.value(value, rest[0], path, owner)
        if origin is tuple:
            return self.items(value, arguments[0], path, owner)
        if origin is dict:
            return self.mapping(value, arguments[1], path, owner)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            if not isinstance(value, dict):
                raise self.mismatch(value, _go_name(hint), path, owner)
            return self.struct(value, hint, path)
        return self.scalar(value, hint, path, owner)

    def items(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean the items of a list."""
        if not isinstance(value, list | tuple):
            raise self.mismatch(value, f"[]{_go_name(hint)}", path, owner)
        empty: Any = {} if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else ""
        head, last, good = path[:-1], path[-1], _AS_IT_IS.get(hint)
        return [
            v
            if type(v) is good
            else self.value(empty if v is None else v, hint, (*head, f"{last}[{i}]"), owner)
            for i, v in enumerate(value)
        ]

    def mapping(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Clean the values of a map."""
        if not isinstance(value, dict):
            raise self.mismatch(value, f"map[string]{_go_name(hint)}", path, owner)
        zero, good = "0" if hint is Quantity else "", _AS_IT_IS.get(hint)
        return {
            k: v
            if type(v) is good
            else self.value(zero if v is None else v, hint, (*path, _Key(k)), owner)
            for k, v in value.items()
        }

    def number_or_text(self, value: Any) -> Any:
        """Check an IntOrString, which Go decodes apart from its surroundings."""
        try:
            return msgspec.convert(value, _INT_OR_STRING)
        except (msgspec.ValidationError, ValueError) as error:
            text = f"cannot unmarshal {_found(value, number=True)} into Go value of type int32"
            raise _refused(self.root, f"json: {text}") from error

    def scalar(self, value: Any, hint: Any, path: tuple[str, ...], owner: Any) -> Any:
        """Check one scalar; quantities may be bare numbers."""
        if hint == _INT_OR_STRING:
            return self.number_or_text(value)
        try:
            if hint is Quantity:
                return tolerance.quantity_text(value)
            if hint is bytes and isinstance(value, str | list):
                return tolerance.base64_text(value)
            return msgspec.convert(value, hint)
        except tolerance.NotBase64 as error:
            raise _refused(self.root, str(error)) from error
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            if hint is Quantity:
                raise _refused(self.root, quantity.INVALID) from error
            raise self.mismatch(value, _go_name(hint), path, owner) from error

    def mismatch(self, value: Any, go: str, path: tuple[str, ...], owner: Any) -> Exception:
        """The error for a value of the wrong type at `path`; Go names members only."""
        members = [part.partition("[")[0] for part in path if not isinstance(part, _Key)]
        return _mismatch(value, go, owner.__name__, ".".join(members), self.root)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(part[:PART_MAX] for part in path)


def _go_name(hint: Any) -> str:
    """The Go type that Kubernetes would name."""
    if hint == Int32:
        return "int32"
    if hint == Int64:
        return "int64"
    if hint in (Time, MicroTime, Quantity):
        return {Time: "Time", MicroTime: "MicroTime", Quantity: "Quantity"}[hint]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"{_version(hint)}.{hint.__name__}"
    return _GO_NAMES.get(hint, "value")


def _version(cls: Any) -> str:
    """`v1` for the Structs of apps_v1; it is also the name of their package in Go."""
    return str(cls.__module__.rsplit("_", 1)[-1])


def _found(value: Any, *, number: bool) -> str:
    """What Go says that it has found; the number itself only where a number is wanted."""
    name = _JSON_NAMES.get(type(value), "null")
    return f"number {value}" if name == "number" and number else name


def _mismatch(value: Any, go: str, owner: str, path: str, root: Any) -> errors.StatusError:
    """400 in the words of Go's decoder."""
    actual = _found(value, number=go in ("int32", "int64", "float64"))
    return _refused(
        root, f"json: cannot unmarshal {actual} into Go struct field {owner}.{path} of type {go}"
    )


def _refused(root: Any, why: str) -> errors.StatusError:
    return errors.CannotBeHandled(root.__name__, _version(root), why)
