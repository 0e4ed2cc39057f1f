"""Checks that the rules of several kinds are made of. Each yields what is wrong, in order.

Messages are Kubernetes' own (k8s.io/apimachinery pkg/util/validation and field).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence, Sized
from typing import Any

from common.api import errors, labels, names
from common.api.errors import FieldError
from common.api.types.meta_v1 import LabelSelector
from master.apiserver.registry.strategy import validate_labels

Findings = Iterator[FieldError]
NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
INT32_MAX = 2**31 - 1


def named(path: str, text: str, problems: Callable[[str], list[str]]) -> Findings:
    """A text that must follow the rules of `problems`, a function of common.api.names."""
    for problem in problems(text):
        yield errors.invalid(path, text, problem)


def nonnegative(path: str, number: int | None) -> Findings:
    """A number, if it is set, that must not be below zero."""
    if number is not None and number < 0:
        yield errors.invalid(path, number, NEGATIVE)


def between(path: str, number: int | None, low: int, high: int) -> Findings:
    """A number, if it is set, in a range that includes both ends."""
    if number is not None and not low <= number <= high:
        yield errors.invalid(path, number, f"must be between {low} and {high}, inclusive")


def port(path: str, value: int | str) -> Findings:
    """The number or the name of a port; the empty text is what an unset port looks like."""
    if isinstance(value, str) and value:
        yield from named(path, value, names.port_name)
    else:
        yield from between(path, value or 0, 1, 65535)


def one_of(path: str, value: str | None, allowed: Collection[str]) -> Findings:
    """A word of an enumeration, if it is set; the empty one is missing."""
    if value == "":
        yield errors.required(path)
    elif value is not None and value not in allowed:
        yield errors.not_supported(path, value, allowed)


def unique(path: str, values: Sequence[str]) -> Findings:
    """Values that must differ; `path` has a place for the index: `spec.x[{}].name`."""
    seen = set()
    for number, value in enumerate(values):
        if value and value in seen:
            yield errors.duplicate(path.format(number), value)
        seen.add(value)


def immutable(path: str, new: Any, old: Any) -> Findings:
    """A value that an update must not change."""
    if new != old:
        yield errors.invalid(path, new, IMMUTABLE)


def few(path: str, items: Sized, limit: int) -> Findings:
    """No more of something than a bound of ours allows (docs/decisions/0012-bounds.md)."""
    if len(items) > limit:
        yield errors.too_many(path, len(items), limit)


def label_selector(path: str, selector: LabelSelector | None) -> Findings:
    """A selector of labels, if it is set; no larger than that of a query may be."""
    if selector is None:
        return
    requirements = [*selector.matchLabels, *selector.matchExpressions]
    yield from few(path, requirements, labels.REQUIREMENTS_MAX)
    values = (value for one in selector.matchExpressions for value in one.values)
    if sum(map(len, values)) > labels.TEXT_MAX_CHARACTERS:
        yield errors.too_long(path, labels.TEXT_MAX_CHARACTERS)
    yield from validate_labels(selector.matchLabels, f"{path}.matchLabels")
    for number, requirement in enumerate(selector.matchExpressions):
        here = f"{path}.matchExpressions[{number}]"
        yield from operator_values(here, requirement.operator, requirement.values)
        yield from named(f"{here}.key", requirement.key, names.qualified_name)
        for index, value in enumerate(requirement.values):
            yield from named(f"{here}.values[{index}]", value, names.label_value)


def operator_values(path: str, operator: str, values: Sequence[str]) -> Findings:
    """In and NotIn compare with values, Exists and DoesNotExist with none."""
    if operator in ("In", "NotIn"):
        if not values:
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            yield errors.required(f"{path}.values", text)
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield errors.forbidden(f"{path}.values", text)
    else:
        yield errors.invalid(f"{path}.operator", operator, "not a valid selector operator")


def selects(selector: LabelSelector | None, found: dict[str, str]) -> bool:
    """Whether a selector matches labels; one that cannot be understood does."""
    try:
        return labels.from_label_selector(selector).matches(found)
    except KeyError:
        return True
