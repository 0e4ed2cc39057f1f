"""Brings the quantities and times of a decoded object into their one form, in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from common.api import quantity, times
from common.api.types import MicroTime, Quantity, Time

Visitor = Callable[[Any], Any]
"""Takes a value that is set, returns what replaces it (itself, for what is changed in place)."""


def normalise(value: msgspec.Struct) -> None:
    """Canonicalise every Quantity and cut every Time to the second.

    Raises quantity.InvalidQuantity or times.InvalidTime, both ValueError.
    """
    visit = _struct(type(value))
    if visit is not None:
        visit(value)


_ZERO = "0001-01-01T00:00:00Z"
_MICRO_ZERO = "0001-01-01T00:00:00.000000Z"


def _quantity(text: str) -> str:
    return quantity.canonical(text)


def _time(text: str) -> str | None:
    """The time to the second; Go's zero time is none at all."""
    if len(text) == 20 and text[-1] == "Z":
        times.parse(text)
        return text if text != _ZERO else None
    time = times.to_time(times.parse(text))
    return time if time != _ZERO else None


def _micro_time(text: str) -> str | None:
    time = times.to_micro_time(times.parse(text))
    return time if time != _MICRO_ZERO else None


_SCALARS: dict[Any, Visitor] = {Quantity: _quantity, Time: _time, MicroTime: _micro_time}


@cache
def _struct(cls: type[msgspec.Struct]) -> Visitor | None:
    """The visitor of just those attributes below which a quantity or time can be, if any."""
    hints = get_type_hints(cls, include_extras=True)
    visited = [(name, _visitor(hints[name])) for name in cls.__struct_fields__]
    members = [(name, visit) for name, visit in visited if visit is not None]

    def run(owner: Any) -> Any:
        for name, visit in members:
            value = getattr(owner, name)
            if value or value == "":
                replaced = visit(value)
                if replaced is not value:
                    setattr(owner, name, replaced)
        return owner

    return run if members else None


def _visitor(hint: Any) -> Visitor | None:
    """The visitor of a type expression, or None when there is nothing to do below it."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _struct(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _each_item(_visitor(arguments[0]))
    if origin is dict:
        return _each_value(_visitor(arguments[1]))
    if len(arguments) == 2 and arguments[1] is type(None):
        return _visitor(arguments[0])
    return None


def _each_item(visit: Visitor | None) -> Visitor | None:
    """Of a tuple: its items are Structs, changed in place; no list of the API is of quantities."""
    if visit is None:
        return None

    def run(items: Any) -> Any:
        for item in items:
            visit(item)
        return items

    return run


def _each_value(visit: Visitor | None) -> Visitor | None:
    return None if visit is None else lambda items: {k: visit(v) for k, v in items.items()}
