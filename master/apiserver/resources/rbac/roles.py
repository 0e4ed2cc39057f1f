"""Rules of Role and ClusterRole. Source: k8s.io/kubernetes pkg/apis/rbac/validation."""

from __future__ import annotations

from collections.abc import Iterator

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.rbac_v1 import AggregationRule, ClusterRole, PolicyRule, Role
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib.checks import few, label_selector

RULES_MAX = 1000
WORDS_MAX = 2000
"""Bounds of ours: each request of who has the role looks at all of them."""


class _Roles(Strategy):
    has_dependents = False

    def name_problems(self, name: str) -> list[str]:
        """Names such as `system:node` are allowed."""
        return names.path_segment(name)


class RoleStrategy(_Roles):
    """What may be done in a namespace."""

    def validate(self, obj: Role) -> list[FieldError]:
        """Rules are about resources."""
        return [*rule_problems(obj.rules, namespaced=True)]


class ClusterRoleStrategy(_Roles):
    """What may be done everywhere, and beside resources."""

    def validate(self, obj: ClusterRole) -> list[FieldError]:
        """Rules are about resources or about URLs."""
        return [
            *rule_problems(obj.rules, namespaced=False),
            *_aggregation_problems(obj.aggregationRule),
        ]


def rule_problems(rules: tuple[PolicyRule, ...], *, namespaced: bool) -> Iterator[FieldError]:
    """What is wrong with the rules of a role."""
    yield from few("rules", rules, RULES_MAX)
    words = sum(
        len(rule.verbs)
        + len(rule.apiGroups)
        + len(rule.resources)
        + len(rule.resourceNames)
        + len(rule.nonResourceURLs)
        for rule in rules
    )
    if words > WORDS_MAX:
        yield errors.too_many("rules", words, WORDS_MAX)
    for number, rule in enumerate(rules[:RULES_MAX]):
        path = f"rules[{number}]"
        if not rule.verbs:
            yield errors.required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.nonResourceURLs:
            yield from _url_problems(f"{path}.nonResourceURLs", rule, namespaced=namespaced)
            continue
        if not rule.apiGroups:
            text = "resource rules must supply at least one api group"
            yield errors.required(f"{path}.apiGroups", text)
        if not rule.resources:
            text = "resource rules must supply at least one resource"
            yield errors.required(f"{path}.resources", text)


def _url_problems(path: str, rule: PolicyRule, *, namespaced: bool) -> Iterator[FieldError]:
    urls = list(rule.nonResourceURLs)
    if namespaced:
        yield errors.invalid(path, urls, "namespaced rules cannot apply to non-resource URLs")
    if rule.apiGroups or rule.resources or rule.resourceNames:
        text = "rules cannot apply to both regular resources and non-resource URLs"
        yield errors.invalid(path, urls, text)


def _aggregation_problems(rule: AggregationRule | None) -> Iterator[FieldError]:
    if rule is None:
        return
    path = "aggregationRule.clusterRoleSelectors"
    if not rule.clusterRoleSelectors:
        text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        yield errors.required(path, text)
    for number, selector in enumerate(rule.clusterRoleSelectors):
        yield from label_selector(f"{path}[{number}]", selector)


RULES = {
    "clusterroles.rbac.authorization.k8s.io": Rules(ClusterRoleStrategy),
    "roles.rbac.authorization.k8s.io": Rules(RoleStrategy),
}
