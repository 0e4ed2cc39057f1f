"""Nobody gives others, or themselves, what they may not do: roles and bindings are written by who
has their rules, or may `escalate` or `bind` the role.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from common.api import errors
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import Scheme
from common.api.types.rbac_v1 import (
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
)
from common.api.wellknown import MASTERS
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.rbac import GROUP, parts_of, uncovered
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

PARTS_MAX = 5000
"""Rules of one verb and one resource that are compared with what the writer has."""
PLURALS = {"Role": "roles", "ClusterRole": "clusterroles"}


class RbacEscalation:
    """Looks at what a role or a binding gives, when that is new."""

    def __init__(self, authorizer: Authorizer, scheme: Scheme) -> None:
        self._authorizer = authorizer
        self._scheme = scheme

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Raise StatusError 403 for more than the writer has, 404 for a role that is not there."""
        if MASTERS in ctx.user.groups:
            return
        if isinstance(new, Role | ClusterRole):
            if old is None or _given(new) != _given(old):
                self._check_role(ctx.user, target.resource, new)
        elif isinstance(new, RoleBinding | ClusterRoleBinding) and (
            old is None or (new.roleRef, new.subjects) != (old.roleRef, old.subjects)
        ):
            self._check_binding(ctx.user, target.resource, new)

    def _check_role(self, user: Identity, resource: Resource, role: Role | ClusterRole) -> None:
        meta = role.metadata
        if self._allows(user, "escalate", resource.plural, meta.namespace, meta.name):
            return
        if isinstance(role, ClusterRole) and role.aggregationRule is not None:
            # Whatever is labelled later becomes a part of it.
            everything = (
                PolicyRule(verbs=("*",), apiGroups=("*",), resources=("*",)),
                PolicyRule(verbs=("*",), nonResourceURLs=("*",)),
            )
            self._check_rules(user, resource, meta.name, "", everything)
        self._check_rules(user, resource, meta.name, meta.namespace, role.rules)

    def _check_binding(
        self, user: Identity, resource: Resource, binding: RoleBinding | ClusterRoleBinding
    ) -> None:
        meta, ref = binding.metadata, binding.roleRef
        plural = PLURALS.get(ref.kind, "")
        if not plural:
            return  # validation says what is wrong with it
        if self._allows(user, "bind", plural, meta.namespace, ref.name):
            return
        rules = self._authorizer.policy.rules_of(ref, meta.namespace)
        if rules is None:
            raise self._missing(ref)
        self._check_rules(user, resource, meta.name, meta.namespace, rules)

    def _missing(self, ref: RoleRef) -> StatusError:
        return errors.not_found(self._scheme.require(GROUP, "v1", PLURALS[ref.kind]), ref.name)

    def _allows(self, user: Identity, verb: str, plural: str, namespace: str, name: str) -> bool:
        wanted = Attributes(verb, GROUP, plural, namespace=namespace, name=name)
        return self._authorizer.decide(user, wanted).allowed

    def _check_rules(
        self,
        user: Identity,
        resource: Resource,
        name: str,
        namespace: str,
        rules: Sequence[PolicyRule],
    ) -> None:
        if (count := parts_of(rules)) > PARTS_MAX:
            findings = [errors.too_many("rules", count, PARTS_MAX)]
            raise errors.invalid_object(resource.group, resource.kind, name, findings)
        missing = uncovered(self._authorizer.policy.rules_for(user, namespace), rules)
        if missing:
            why = (
                f'user "{user.user}" (groups={_quoted(user.groups)}) is attempting to grant RBAC '
                f"permissions not currently held:\n{_listed(missing)}"
            )
            raise errors.forbidden_request(resource, name, why)


def _given(role: Role | ClusterRole) -> object:
    return role.rules, role.aggregationRule if isinstance(role, ClusterRole) else None


def _listed(rules: Iterable[PolicyRule]) -> str:
    """The rules, those that differ in their verbs alone as one, a line each."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for rule in rules:
        members = tuple(
            f"{title}:{_quoted(values)}"
            for title, values in (
                ("APIGroups", rule.apiGroups),
                ("Resources", rule.resources),
                ("NonResourceURLs", rule.nonResourceURLs),
                ("ResourceNames", rule.resourceNames),
            )
            if values
        )
        merged.setdefault(members, []).extend(rule.verbs)
    lines = (
        f"{{{', '.join([*members, f'Verbs:{_quoted(verbs)}'])}}}"
        for members, verbs in merged.items()
    )
    return "\n".join(sorted(lines))


def _quoted(values: Sequence[str]) -> str:
    words = " ".join(f'"{value}"' for value in values)
    return f"[{words}]"
