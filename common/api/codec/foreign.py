"""Fields that a newer release has stored and this one does not know.

Whoever goes back to a release reads what the newer one wrote, and changes some of it. What it does
not know stays where it was, so that nothing is lost when the newer release comes again. Kubernetes
drops such fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from common.api.codec import json as codec
from common.api.codec import strict

IDENTITY = ("name", "type", "key", "uid", "ip")
"""By which an item of a list that was changed is the same as before; without any it is another."""


class Foreign(NamedTuple):
    """A stored object, and what of it this release knows."""

    data: bytes
    stored: Mapping[str, Any]
    known: Mapping[str, Any]


def find(data: bytes, cls: type[msgspec.Struct]) -> Foreign | None:
    """None for an object all of whose fields are known, as nearly every one's are."""
    if codec.is_known(data, cls):
        return None
    stored = codec.decode_plain(data)
    known, unknown = strict.clean(codec.decode_plain(data), cls)
    return Foreign(data, stored, known) if unknown else None


def keep(value: bytes, foreign: Foreign) -> bytes:
    """The new bytes of an object with the fields that are not known; the former bytes themselves
    when nothing is different."""
    new = codec.decode_plain(value)
    _keep(new, foreign.stored, foreign.known)
    return foreign.data if new == foreign.stored else codec.encode(new)


def _keep(new: dict[str, Any], stored: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key, value in stored.items():
        if key not in known:
            new.setdefault(key, value)
        elif isinstance(value, dict) and isinstance(new.get(key), dict):
            _keep(new[key], value, known[key])
        elif isinstance(value, list) and isinstance(new.get(key), list):
            _keep_items(new[key], value, known[key])


def _keep_items(new: Sequence[Any], stored: Sequence[Any], known: Sequence[Any]) -> None:
    there = {identity: item for item in new if (identity := _identity(item))}
    for index, (item, what) in enumerate(zip(stored, known, strict=True)):
        is_same = index < len(new) and new[index] == what
        counterpart = new[index] if is_same else there.get(_identity(item))
        if isinstance(counterpart, dict):
            _keep(counterpart, item, what)


def _identity(item: Any) -> tuple[Any, ...]:
    if not isinstance(item, dict):
        return ()
    return tuple((key, item[key]) for key in IDENTITY if isinstance(item.get(key), str))
