"""Rules of LimitRange. Source: k8s.io/kubernetes pkg/apis/core/validation."""

from __future__ import annotations

from common.api import errors, names, quantity
from common.api.errors import FieldError
from common.api.types import Quantity
from common.api.types.core_v1 import LimitRange, LimitRangeItem
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod.container.resources import (
    is_overcommittable,
    validate_container_resource_name,
    validate_resource_name,
)
from master.apiserver.resources.lib.checks import Findings

_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


class LimitRangeStrategy(Strategy):
    """What is left out for containers follows from what is there."""

    def default(self, obj: LimitRange) -> None:
        """A limit is the largest, a request the limit or else the smallest."""
        for item in obj.spec.limits:
            if item.type == "Container":
                item.default = {**item.max, **item.default}
                item.defaultRequest = {**item.min, **item.default, **item.defaultRequest}

    def validate(self, obj: LimitRange) -> list[FieldError]:
        """Known types, each once; amounts that fit together."""
        return errors.first(_items(obj))


def _items(obj: LimitRange) -> Findings:
    seen: set[str] = set()
    for number, item in enumerate(obj.spec.limits):
        path = f"spec.limits[{number}]"
        yield from _type(f"{path}.type", item.type)
        if item.type in seen:
            yield errors.duplicate(f"{path}.type", item.type)
        seen.add(item.type)
        yield from _item(path, item)


def _type(path: str, name: str) -> Findings:
    problems = names.qualified_name(name)
    for problem in problems:
        yield errors.invalid(path, name, problem)
    if not problems and "/" not in name and name not in _TYPES:
        yield errors.invalid(path, name, "must be a standard limit type or fully qualified")


def _item(path: str, item: LimitRangeItem) -> Findings:
    named = ["max", "min", "maxLimitRequestRatio"]
    if item.type == "Pod":
        for name in ("default", "defaultRequest"):
            if getattr(item, name):
                text = "may not be specified when `type` is 'Pod'"
                yield errors.forbidden(f"{path}.{name}", text)
    else:
        named += ["default", "defaultRequest"]
    check = (
        validate_container_resource_name
        if item.type in ("Container", "Pod")
        else validate_resource_name
    )
    for name in named:
        for key in getattr(item, name):
            yield from check(f"{path}.{name}[{key}]", key)
    if item.type == "PersistentVolumeClaim" and "storage" not in {**item.min, **item.max}:
        text = "either minimum or maximum storage value is required, but neither was provided"
        yield errors.required(f"{path}.limits", text)
    defaults = item.type != "Pod"
    for key in {key: 0 for name in named for key in getattr(item, name)}:
        yield from _order(path, item, key, defaults=defaults)


def _order(path: str, item: LimitRangeItem, key: str, *, defaults: bool) -> Findings:
    """min <= default request <= default limit <= max, as far as they are there."""
    low, high, ratio = item.min.get(key), item.max.get(key), item.maxLimitRequestRatio.get(key)
    limit = item.default.get(key) if defaults else None
    request = item.defaultRequest.get(key) if defaults else None
    yield from _at_most(f"{path}.min[{key}]", low, low, high, "min value", "max value")
    where = f"{path}.defaultRequest[{key}]"
    said = "default request value"
    yield from _at_most(where, request, low, request, "min value", said)
    yield from _at_most(where, request, request, high, said, "max value")
    yield from _at_most(where, request, request, limit, said, "default limit value")
    where = f"{path}.default[{key}]"
    yield from _at_most(where, low, low, limit, "min value", "default value")
    yield from _at_most(where, high, limit, high, "default value", "max value")
    if ratio is not None:
        yield from _ratio(f"{path}.maxLimitRequestRatio[{key}]", ratio, low, high)
    if limit is None or request is None or is_overcommittable(key):
        return
    if quantity.parse(limit) != quantity.parse(request):
        text = f"default value {limit} must equal to defaultRequest value {request} in {key}"
        yield errors.invalid(f"{path}.defaultRequest[{key}]", request, text)


def _at_most(
    path: str,
    shown: Quantity | None,
    less: Quantity | None,
    more: Quantity | None,
    what: str,
    than: str,
) -> Findings:
    if less is None or more is None:
        return
    if quantity.parse(less) > quantity.parse(more):
        text = f"{what} {less} is greater than {than} {more}"
        yield errors.invalid(path, shown, text)


def _ratio(path: str, ratio: Quantity, low: Quantity | None, high: Quantity | None) -> Findings:
    wanted = quantity.parse(ratio)
    if wanted < 1:
        yield errors.invalid(path, ratio, f"ratio {ratio} is less than 1")
    if low is None or high is None:
        return
    least, most = quantity.parse(low), quantity.parse(high)
    if least > 0 and wanted * least > most:
        text = f"ratio {ratio} is greater than max/min = {most / least:.6f}"
        yield errors.invalid(path, ratio, text)


RULES = {"limitranges": Rules(LimitRangeStrategy)}
