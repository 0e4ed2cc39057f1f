"""Rules of ResourceQuota. Source: k8s.io/kubernetes pkg/apis/core/validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from common.api import errors
from common.api.errors import FieldError
from common.api.types import Quantity
from common.api.types.core_v1 import (
    ResourceQuota,
    ResourceQuotaSpec,
    ScopedResourceSelectorRequirement,
)
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod.container.resources import (
    HUGE_PAGES,
    STANDARD_RESOURCES,
    validate_amount,
    validate_resource_name,
)
from master.apiserver.resources.lib.checks import Findings

_EXISTENCE = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "Terminating",
)
_CLASSES = ("PriorityClass", "VolumeAttributesClass")
_OF_PODS = frozenset(
    {
        "pods",
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "limits.cpu",
        "limits.memory",
    }
)
_OF_CLAIMS = frozenset({"persistentvolumeclaims", "requests.storage"})
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_OPERATOR = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
    "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


class ResourceQuotaStrategy(Strategy):
    """Amounts of resources that quotas know, for scopes that have them."""

    delete_answers_object = True

    def validate(self, obj: ResourceQuota) -> list[FieldError]:
        """The rules of the spec."""
        return errors.first(_spec(obj.spec))

    def validate_update(self, new: ResourceQuota, old: ResourceQuota) -> list[FieldError]:
        """The scopes stay."""
        if set(new.spec.scopes) == set(old.spec.scopes):
            return []
        return [errors.invalid("spec.scopes", new.spec.scopes, "field is immutable")]

    def validate_status_update(self, new: ResourceQuota, old: ResourceQuota) -> list[FieldError]:
        """What is used is of the same kind."""
        status = new.status
        findings = errors.first(_amounts("status.hard", status.hard))
        return findings + errors.first(_amounts("status.used", status.used))


def _spec(spec: ResourceQuotaSpec) -> Findings:
    yield from _amounts("spec.hard", spec.hard)
    yield from _scopes(spec)
    if spec.scopeSelector is None:
        return
    path = "spec.scopeSelector.matchExpressions"
    scopes: set[str] = set()
    for requirement in spec.scopeSelector.matchExpressions:
        yield from _requirement(path, requirement, spec)
        scopes.add(requirement.scopeName)
    if any(pair <= scopes for pair in _CONFLICTS):
        yield errors.invalid(path, spec.scopes, "conflicting scopes")


def _amounts(path: str, amounts: Mapping[str, Quantity]) -> Findings:
    for name, amount in amounts.items():
        where = f"{path}[{name}]"
        yield from validate_resource_name(where, name)
        if "/" not in name and not _is_quota(name):
            yield errors.invalid(where, name, "must be a standard resource for quota")
        yield from validate_amount(where, name, amount)


def _is_quota(name: str) -> bool:
    huge = name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}"))
    return huge or (name in STANDARD_RESOURCES and name != "storage")


def _scopes(spec: ResourceQuotaSpec) -> Findings:
    path, scopes = "spec.scopes", spec.scopes
    for scope in scopes:
        if scope not in (*_EXISTENCE, *_CLASSES):
            yield errors.invalid(path, scopes, "unsupported scope")
        if not _have(scope, spec.hard):
            yield errors.invalid(path, scopes, "unsupported scope applied to resource")
    if any(pair <= set(scopes) for pair in _CONFLICTS):
        yield errors.invalid(path, scopes, "conflicting scopes")


def _have(scope: str, hard: Mapping[str, Quantity]) -> bool:
    """Whether a scope can be told of all the resources."""
    known = [name for name in hard if "/" not in name and _is_quota(name)]
    if scope == "BestEffort":
        return all(name == "pods" for name in known)
    if scope == "VolumeAttributesClass":
        return all(name in _OF_CLAIMS for name in known)
    if scope in (*_EXISTENCE, "PriorityClass"):
        return all(name in _OF_PODS for name in known)
    return True


def _requirement(
    path: str, requirement: ScopedResourceSelectorRequirement, spec: ResourceQuotaSpec
) -> Findings:
    name, operator, values = requirement.scopeName, requirement.operator, requirement.values
    if name not in (*_EXISTENCE, *_CLASSES):
        yield errors.invalid(f"{path}.scopeName", name, "unsupported scope")
    if not _have(name, spec.hard):
        text = "unsupported scope applied to resource"
        yield errors.invalid(path, spec.scopeSelector, text)
    if name in _EXISTENCE and operator != "Exists":
        yield errors.invalid(f"{path}.operator", operator, _OPERATOR)
    if operator in ("In", "NotIn"):
        if not values:
            text = (
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            )
            yield errors.required(f"{path}.values", text)
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            text = (
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            )
            yield errors.invalid(f"{path}.values", values, text)
    else:
        yield errors.invalid(f"{path}.operator", operator, "not a valid selector operator")


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ResourceQuota: used/hard, limits apart from all else."""
    status = obj.get("status", {})
    used = status.get("used", {})
    columns: dict[str, list[str]] = {"Request": [], "Limit": []}
    for name, hard in sorted(status.get("hard", {}).items()):
        column = "Limit" if name.startswith("limits.") else "Request"
        columns[column].append(f"{name}: {used.get(name, '0')}/{hard}")
    return {name: ", ".join(texts) for name, texts in columns.items()}


RULES = {"resourcequotas": Rules(ResourceQuotaStrategy, cells_of)}
