"""Fills in ClusterRoles that are made of others, such as `admin`, `edit` and `view`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api import labels
from common.api.resource import Resource
from common.api.types.rbac_v1 import ClusterRole, PolicyRule
from common.client.commands import Command, Update
from common.client.informer import Item
from master.controllers.base import Reader, View
from master.controllers.lib.resources import CLUSTER_ROLES

ROLES = CLUSTER_ROLES.group_resource
AGGREGATES = b'"aggregationRule"'
"""What stands in the bytes of those that are to be decoded."""


class ClusterRoleAggregationController:
    """The rules of an aggregated role are those of all that its selectors choose, each once."""

    name: ClassVar[str] = "clusterrole-aggregation"
    account: ClassVar[str] = "clusterrole-aggregation-controller"
    watches: ClassVar[Sequence[str]] = (ROLES,)

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """Every aggregated role: any of them may choose the one that has changed."""
        return [item.name for item in view[ROLES].list() if AGGREGATES in item.data]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Write the rules when they are others than before."""
        item = view[ROLES].get("", key)
        role = item.decode(ClusterRole) if item is not None else None
        if role is None or role.aggregationRule is None:
            return []
        rules = _rules(role, view[ROLES])
        if rules == role.rules:
            return []
        role.rules = rules
        reason = f"the roles that {key} is made of have changed"
        return [Update(resource=CLUSTER_ROLES, body=role, reason=reason)]


def _rules(role: ClusterRole, roles: Reader) -> tuple[PolicyRule, ...]:
    """In the order of the selectors, and by name below each."""
    merged: list[PolicyRule] = []
    assert role.aggregationRule is not None
    for selector in role.aggregationRule.clusterRoleSelectors:
        chosen = roles.list("", labels.from_label_selector(selector))
        for item in sorted(chosen, key=lambda item: item.name):
            if item.name == role.metadata.name:
                continue
            rules = item.decode(ClusterRole).rules
            merged += [rule for rule in rules if rule not in merged]
    return tuple(merged)
