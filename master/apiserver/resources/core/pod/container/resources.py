"""Rules for what containers request and may use. Source: pkg/apis/core/validation."""

from __future__ import annotations

from common.api import errors, names, quantity
from common.api.types import Quantity
from common.api.types.core_v1 import ResourceRequirements
from master.apiserver.resources.lib.checks import NEGATIVE, Findings

HUGE_PAGES = "hugepages-"
CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_COUNTED = (
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
STANDARD_RESOURCES = (
    *CONTAINER_RESOURCES,
    *(f"requests.{name}" for name in CONTAINER_RESOURCES),
    *(f"limits.{name}" for name in CONTAINER_RESOURCES),
    *_COUNTED,
    "storage",
    "requests.storage",
)


def is_native(name: str) -> bool:
    """Whether a resource is Kubernetes' own rather than a device's."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether a resource is a device's; quotas of requests of one are none themselves."""
    return not is_native(name) and not name.startswith("requests.")


def is_overcommittable(name: str) -> bool:
    """Whether requests and limits of a resource may differ."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def validate_resources(path: str, resources: ResourceRequirements) -> Findings:
    """Known names, amounts of at least zero, requests within limits."""
    limits, requests = resources.limits, resources.requests
    for name, amount in limits.items():
        yield from _resource(f"{path}.limits[{name}]", name, amount)
    for name, amount in requests.items():
        yield from _resource(f"{path}.requests[{name}]", name, amount)
        yield from _within_limit(path, name, amount, limits.get(name))
    named = {*limits, *requests}
    huge = any(name.startswith(HUGE_PAGES) for name in named)
    if huge and not named & {"cpu", "memory"}:
        yield errors.forbidden(path, "HugePages require cpu or memory")


def _within_limit(path: str, name: str, amount: Quantity, limit: Quantity | None) -> Findings:
    if limit is None:
        if not is_overcommittable(name):
            text = "Limit must be set for non overcommitable resources"
            yield errors.required(f"{path}.limits", text)
        return
    asked, allowed = quantity.parse(amount), quantity.parse(limit)
    if asked != allowed and not is_overcommittable(name):
        text = f"must be equal to {name} limit of {limit}"
        yield errors.invalid(f"{path}.requests", amount, text)
    elif asked > allowed:
        text = f"must be less than or equal to {name} limit of {limit}"
        yield errors.invalid(f"{path}.requests", amount, text)


def _resource(path: str, name: str, amount: Quantity) -> Findings:
    yield from validate_container_resource_name(path, name)
    yield from validate_amount(path, name, amount)


def validate_resource_name(path: str, name: str) -> Findings:
    """A standard resource or a name with a domain."""
    problems = names.qualified_name(name)
    for problem in problems:
        yield errors.invalid(path, name, problem)
    huge = name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}"))
    if not problems and "/" not in name and not huge and name not in STANDARD_RESOURCES:
        yield errors.invalid(path, name, "must be a standard resource type or fully qualified")


def validate_container_resource_name(path: str, name: str) -> Findings:
    """Those of them that a container can use."""
    yield from validate_resource_name(path, name)
    if "/" not in name:
        if not name.startswith(HUGE_PAGES) and name not in CONTAINER_RESOURCES:
            yield errors.invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and (
        name.startswith("requests.") or names.qualified_name(f"requests.{name}")
    ):
        yield errors.invalid(path, name, "doesn't follow extended resource name standard")


def validate_amount(path: str, name: str, amount: Quantity) -> Findings:
    """An amount of at least zero; devices and objects are counted in whole numbers."""
    number = quantity.parse(amount)
    if number < 0:
        yield errors.invalid(path, amount, NEGATIVE)
    if (is_extended(name) or name in _COUNTED) and number % 1:
        yield errors.invalid(path, amount, "must be an integer")
