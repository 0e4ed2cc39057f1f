"""RBAC: who may do what is written in roles, and who has a role in bindings. Nothing can be denied.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from common.api.resource import Resource
from common.api.types.rbac_v1 import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from common.client.informer import Informer, Item
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes

SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
GROUP = "rbac.authorization.k8s.io"
ALL = "*"
_URLS = "/"
"""Stands for a resource where rules are about URLs; no resource is called so."""

RoleKey = tuple[str, str]
"""(namespace, name); a ClusterRole's namespace is empty."""


Binding = RoleBinding | ClusterRoleBinding


class Grant(NamedTuple):
    """One subject's share of a binding."""

    binding: str
    """As a decision's reason names it."""
    role: RoleKey
    kind: str
    subject: str


class Policy:
    """All roles and bindings, found by who has them.

    A decision looks at the bindings of the user and of each group, never at all of them.
    """

    def __init__(self) -> None:
        self._roles: dict[RoleKey, Sequence[PolicyRule]] = {}
        self._bindings: dict[tuple[str, str], Binding] = {}
        self._grants: dict[tuple[str, str, str], dict[tuple[str, str], Grant]] = {}
        """(namespace, User or Group, name) -> binding -> what it gives."""

    def follow(self, informers: Mapping[str, Informer]) -> None:
        """Keep it true: call before the informers run."""
        for plural, kind in (("roles", Role), ("clusterroles", ClusterRole)):
            informers[f"{plural}.{GROUP}"].add_handler(partial(self._role_changed, kind))
        for plural, cls in (
            ("rolebindings", RoleBinding),
            ("clusterrolebindings", ClusterRoleBinding),
        ):
            informers[f"{plural}.{GROUP}"].add_handler(partial(self._binding_changed, cls))

    def _role_changed(
        self, cls: type[Role | ClusterRole], _: Resource, old: Item | None, new: Item | None
    ) -> None:
        if new is not None:
            self.set_role(new.decode(cls))
        elif old is not None:
            self.remove_role(old.namespace, old.name)

    def _binding_changed(
        self, cls: type[Binding], _: Resource, old: Item | None, new: Item | None
    ) -> None:
        if new is not None:
            self.set_binding(new.decode(cls))
        elif old is not None:
            self.remove_binding(old.namespace, old.name)

    def set_role(self, role: Role | ClusterRole) -> None:
        """A role is there, or has changed."""
        self._roles[role.metadata.namespace, role.metadata.name] = role.rules

    def remove_role(self, namespace: str, name: str) -> None:
        """A role is gone; bindings to it give nothing."""
        self._roles.pop((namespace, name), None)

    def set_binding(self, binding: Binding) -> None:
        """A binding is there, or has changed."""
        meta = binding.metadata
        self.remove_binding(meta.namespace, meta.name)
        key = (meta.namespace, meta.name)
        self._bindings[key] = binding
        role = role_of(binding.roleRef, meta.namespace)
        for subject in binding.subjects:
            kind, name = holder(subject, meta.namespace)
            grant = Grant(_described(binding), role, subject.kind, _called(subject))
            self._grants.setdefault((meta.namespace, kind, name), {})[key] = grant

    def remove_binding(self, namespace: str, name: str) -> None:
        """A binding is gone."""
        binding = self._bindings.pop((namespace, name), None)
        for subject in binding.subjects if binding else ():
            place = (namespace, *holder(subject, namespace))
            grants = self._grants.get(place, {})
            grants.pop((namespace, name), None)
            if not grants:
                self._grants.pop(place, None)

    def rules_of(self, ref: RoleRef, namespace: str) -> Sequence[PolicyRule] | None:
        """The rules of a role that a binding of a namespace would give; None when there is none."""
        return self._roles.get(role_of(ref, namespace))

    def allows(self, user: Identity, wanted: Attributes) -> str:
        """Why a user may do something, in words; '' when no role says so."""
        for grant in self._grants_of(user, wanted.namespace):
            for rule in self._roles.get(grant.role, ()):
                if fits(rule, wanted):
                    return _reason(grant)
        return ""

    def rules_for(self, user: Identity, namespace: str) -> Iterator[PolicyRule]:
        """All rules that a user has in a namespace and beside namespaces."""
        for grant in self._grants_of(user, namespace):
            yield from self._roles.get(grant.role, ())

    def _grants_of(self, user: Identity, namespace: str) -> Iterator[Grant]:
        """Those of the whole cluster first."""
        for place in dict.fromkeys(("", namespace)):
            yield from self._grants.get((place, "User", user.user), {}).values()
            for group in user.groups:
                yield from self._grants.get((place, "Group", group), {}).values()


def role_of(ref: RoleRef, namespace: str) -> RoleKey:
    """Which role a binding of a namespace means."""
    return (namespace if ref.kind == "Role" else "", ref.name)


def holder(subject: Subject, namespace: str) -> tuple[str, str]:
    """(User or Group, name) of a subject: service accounts are users, too."""
    if subject.kind == "ServiceAccount":
        account = f"{subject.namespace or namespace}:{subject.name}"
        return ("User", SERVICE_ACCOUNT_PREFIX + account)
    return (subject.kind, subject.name)


def fits(rule: PolicyRule, wanted: Attributes) -> bool:
    """Whether a rule is about what is wanted."""
    if ALL not in rule.verbs and wanted.verb not in rule.verbs:
        return False
    if wanted.path:
        return any(_url_fits(url, wanted.path) for url in rule.nonResourceURLs)
    return (
        (ALL in rule.apiGroups or wanted.group in rule.apiGroups)
        and _resource_fits(rule.resources, wanted)
        and (not rule.resourceNames or wanted.name in rule.resourceNames)
    )


def _resource_fits(resources: Sequence[str], wanted: Attributes) -> bool:
    if ALL in resources or wanted.what in resources:
        return True
    return bool(wanted.subresource) and f"*/{wanted.subresource}" in resources


def _url_fits(url: str, path: str) -> bool:
    return url in (ALL, path) or (url.endswith(ALL) and path.startswith(url.rstrip(ALL)))


def uncovered(owned: Iterable[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Those of the wanted rules, one verb and resource each, that none of the owned ones gives.

    Whoever writes a role or a binding must have what it gives. Source: k8s.io/kubernetes
    pkg/registry/rbac/validation, policy_comparator.go.
    """
    have = _Owned(owned)
    return [part for rule in wanted for part in parts(rule) if not have.covers(part)]


class _Owned:
    """Rules by verb and by what they are about, so that a part is compared with few of them."""

    def __init__(self, rules: Iterable[PolicyRule]) -> None:
        self._rules: dict[tuple[str, str], list[PolicyRule]] = {}
        for rule in rules:
            for verb in rule.verbs:
                for what in rule.resources or (_URLS,):
                    self._rules.setdefault((verb, what), []).append(rule)

    def covers(self, part: PolicyRule) -> bool:
        what = part.resources[0] if part.resources else _URLS
        _, slash, subresource = what.partition("/")
        names = [what, ALL, f"*/{subresource}"] if slash else [what, ALL]
        return any(
            covers(rule, part)
            for verb in (part.verbs[0], ALL)
            for name in names
            for rule in self._rules.get((verb, name), ())
        )


def parts_of(rules: Iterable[PolicyRule]) -> int:
    """How many parts rules have."""
    return sum(
        len(rule.verbs)
        * (
            len(rule.apiGroups) * len(rule.resources) * max(1, len(rule.resourceNames))
            + len(rule.nonResourceURLs)
        )
        for rule in rules
    )


def parts(rule: PolicyRule) -> Iterator[PolicyRule]:
    """A rule as rules of one verb, and of one resource, name or URL."""
    for verb in rule.verbs:
        for group in rule.apiGroups:
            for resource in rule.resources:
                for name in rule.resourceNames or (None,):
                    names = (name,) if name is not None else ()
                    yield PolicyRule(
                        verbs=(verb,),
                        apiGroups=(group,),
                        resources=(resource,),
                        resourceNames=names,
                    )
        for url in rule.nonResourceURLs:
            yield PolicyRule(verbs=(verb,), nonResourceURLs=(url,))


def covers(owned: PolicyRule, part: PolicyRule) -> bool:
    """Whether a rule gives all that a part of another one does."""
    if ALL not in owned.verbs and not set(part.verbs) <= set(owned.verbs):
        return False
    if part.nonResourceURLs:
        return all(
            any(_url_covers(url, wanted) for url in owned.nonResourceURLs)
            for wanted in part.nonResourceURLs
        )
    groups = ALL in owned.apiGroups or set(part.apiGroups) <= set(owned.apiGroups)
    names = not owned.resourceNames or (
        bool(part.resourceNames) and set(part.resourceNames) <= set(owned.resourceNames)
    )
    return (
        groups and names and all(_resource_covers(owned.resources, one) for one in part.resources)
    )


def _resource_covers(owned: Sequence[str], wanted: str) -> bool:
    if ALL in owned or wanted in owned:
        return True
    _, slash, subresource = wanted.partition("/")
    return bool(slash) and f"*/{subresource}" in owned


def _url_covers(owned: str, wanted: str) -> bool:
    if owned in (ALL, wanted):
        return True
    return owned.endswith(ALL) and wanted.startswith(owned.rstrip(ALL))


def _described(binding: Binding) -> str:
    meta = binding.metadata
    if isinstance(binding, ClusterRoleBinding):
        return (
            f'ClusterRoleBinding "{meta.name}" of {binding.roleRef.kind} "{binding.roleRef.name}"'
        )
    ref = binding.roleRef
    return f'RoleBinding "{meta.name}/{meta.namespace}" of {ref.kind} "{ref.name}"'


def _called(subject: Subject) -> str:
    if subject.kind == "ServiceAccount":
        return f"{subject.name}/{subject.namespace}"
    return subject.name


def _reason(grant: Grant) -> str:
    return f'RBAC: allowed by {grant.binding} to {grant.kind} "{grant.subject}"'
