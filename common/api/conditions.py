"""Conditions of a status: look one up, set one, and keep its transition time honest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from common.api.types import Time


class Condition(Protocol):
    """What the condition types of all kinds have in common."""

    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: Time | None


C = TypeVar("C", bound=Condition)


def find(conditions: tuple[C, ...], kind: str) -> C | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: tuple[Any, ...], kind: str) -> bool:
    """Whether the condition of that type is there and True."""
    condition: Condition | None = find(conditions, kind)
    return condition is not None and condition.status == "True"


def put(conditions: tuple[C, ...], new: C) -> tuple[C, ...]:
    """`conditions` with `new` in place; its transition time is kept while the status stays."""
    return put_all(conditions, (new,))


def put_all(conditions: Iterable[C], new: Iterable[C]) -> tuple[C, ...]:
    """The same for many, in time linear in their number; each type is there once."""
    known = {condition.type: condition for condition in conditions}
    for condition in new:
        old = known.get(condition.type)
        if old is not None and old.status == condition.status:
            condition.lastTransitionTime = old.lastTransitionTime
        known[condition.type] = condition
    return tuple(known.values())


def without(conditions: tuple[C, ...], kind: str) -> tuple[C, ...]:
    """`conditions` but the one of that type."""
    return tuple(condition for condition in conditions if condition.type != kind)
