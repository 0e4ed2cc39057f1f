"""Kubernetes' default roles and bindings, and Wherry's own, as tables say them; what a stored one
lacks of that. What Wherry's controllers do beside Kubernetes' stands in `own.tsv`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from common.api.types.rbac_v1 import (
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from master.apiserver.auth.authorizers.rbac import GROUP, uncovered

LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATES = "(aggregates)"
CORE = '""'
"""How the tables write the core group."""

Object = Role | ClusterRole | RoleBinding | ClusterRoleBinding


def roles() -> Iterator[Role | ClusterRole]:
    """Every role of the tables; rows that follow each other with one name are one role."""
    rows = [*_rows("roles.tsv"), *_rows("own.tsv")]
    for (kind, namespace, name), lines in groupby(
        rows, lambda row: (row["kind"], row["namespace"], row["name"])
    ):
        yield _role(kind, namespace, name, list(lines))


def bindings() -> Iterator[RoleBinding | ClusterRoleBinding]:
    """Every binding of the tables."""
    for row in (*_rows("bindings.tsv"), *_rows("ownbindings.tsv")):
        subjects = tuple(
            _subject(text) for text in row["subjects(kind:namespace:name)"].split(";") if text
        )
        ref = RoleRef(apiGroup=GROUP, kind=row["role_kind"], name=row["role"])
        meta = _metadata(row["namespace"], row["name"])
        if row["kind"] == "RoleBinding":
            yield RoleBinding(metadata=meta, subjects=subjects, roleRef=ref)
        else:
            yield ClusterRoleBinding(metadata=meta, subjects=subjects, roleRef=ref)


def completed(stored: Any, wanted: Object) -> Object | None:
    """A stored role or binding with what it lacks of the wanted one; None when that is nothing.

    What an administrator has added stays; nothing is changed that forbids it by annotation.
    """
    if stored.metadata.annotations.get(AUTO_UPDATE) == "false":
        return None
    before = stored.metadata.labels
    stored.metadata.labels = {**before, **wanted.metadata.labels}
    if isinstance(wanted, Role | ClusterRole):
        rules = uncovered(stored.rules, wanted.rules)
        stored.rules = (*stored.rules, *rules)
        is_less = bool(rules)
    else:
        subjects = [one for one in wanted.subjects if one not in stored.subjects]
        stored.subjects = (*stored.subjects, *subjects)
        is_less = bool(subjects)
    return stored if is_less or stored.metadata.labels != before else None


def _rows(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _role(
    kind: str, namespace: str, name: str, rows: Sequence[dict[str, str]]
) -> Role | ClusterRole:
    meta = _metadata(namespace, name)
    for label in _words(rows[0]["aggregate_labels"]):
        meta.labels[f"{GROUP}/{label}"] = "true"
    if kind == "Role":
        return Role(metadata=meta, rules=tuple(map(_rule, rows)))
    if rows[0]["verbs"] == AGGREGATES:
        selectors = tuple(LabelSelector(matchLabels={row["api_groups"]: "true"}) for row in rows)
        rule = AggregationRule(clusterRoleSelectors=selectors)
        return ClusterRole(metadata=meta, aggregationRule=rule)
    return ClusterRole(metadata=meta, rules=tuple(map(_rule, rows)))


def _metadata(namespace: str, name: str) -> ObjectMeta:
    return ObjectMeta(
        name=name, namespace=namespace, labels=dict(LABELS), annotations={AUTO_UPDATE: "true"}
    )


def _rule(row: dict[str, str]) -> PolicyRule:
    return PolicyRule(
        verbs=_words(row["verbs"]),
        apiGroups=tuple("" if group == CORE else group for group in _words(row["api_groups"])),
        resources=_words(row["resources"]),
        resourceNames=_words(row["resource_names"]),
        nonResourceURLs=_words(row["non_resource_urls"]),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _subject(text: str) -> Subject:
    kind, namespace, name = text.split(":", 2)
    group = "" if kind == "ServiceAccount" else GROUP
    return Subject(kind=kind, apiGroup=group, name=name, namespace=namespace)
