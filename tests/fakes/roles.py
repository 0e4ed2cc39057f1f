"""Roles and bindings in few words, and an authorizer that knows them."""

from __future__ import annotations

from functools import cache

from common.api.types.meta_v1 import ObjectMeta
from common.api.types.rbac_v1 import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.node import NodeAuthorizer
from master.apiserver.auth.authorizers.rbac import Binding, Policy
from master.apiserver.auth.policy import defaults
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes.clock import FakeClock

USER = Subject(kind="User", name="bob")
GROUP = Subject(kind="Group", name="dev")


def rule(
    verbs: str, resources: str = "", groups: str = "", names: str = "", urls: str = ""
) -> PolicyRule:
    """A rule of comma-separated words; the group `core` is the empty one."""
    return PolicyRule(
        verbs=tuple(verbs.split(",")),
        apiGroups=tuple(each.replace("core", "") for each in groups.split(",") if each),
        resources=tuple(filter(None, resources.split(","))),
        resourceNames=tuple(filter(None, names.split(","))),
        nonResourceURLs=tuple(filter(None, urls.split(","))),
    )


def role(name: str, *rules: PolicyRule, namespace: str = "") -> Role | ClusterRole:
    """A Role, or without a namespace a ClusterRole."""
    meta = ObjectMeta(name=name, namespace=namespace)
    return (
        Role(metadata=meta, rules=rules) if namespace else ClusterRole(metadata=meta, rules=rules)
    )


def binding(name: str, kind: str, of: str, *subjects: Subject, namespace: str = "") -> Binding:
    """A RoleBinding, or without a namespace a ClusterRoleBinding."""
    meta, ref = ObjectMeta(name=name, namespace=namespace), RoleRef(kind=kind, name=of)
    cls = RoleBinding if namespace else ClusterRoleBinding
    return cls(metadata=meta, subjects=subjects, roleRef=ref)


def policy(*objects: Role | ClusterRole | Binding) -> Policy:
    """A policy of these."""
    made = Policy()
    for one in objects:
        if isinstance(one, Role | ClusterRole):
            made.set_role(one)
        else:
            made.set_binding(one)
    return made


def authorizer(
    *objects: Role | ClusterRole | Binding, cache: WatchCache | None = None
) -> Authorizer:
    """One that knows these roles and bindings, and no pod of a node unless there is a cache."""
    clock = FakeClock()
    known = cache or WatchCache(MemoryStore(clock), clock)
    return Authorizer(NodeAuthorizer(known), policy(*objects), lambda _: "")


@cache
def default_policy() -> Policy:
    """The roles and bindings that every cluster has, without what aggregation adds."""
    return policy(*defaults.roles(), *defaults.bindings())
