"""Rules of RoleBinding and ClusterRoleBinding. Source: pkg/apis/rbac/validation of Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.rbac_v1 import ClusterRoleBinding, RoleBinding, RoleRef, Subject
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib.checks import few, named

GROUP = "rbac.authorization.k8s.io"
ROLES = ("Role", "ClusterRole")
SUBJECTS = ("ServiceAccount", "User", "Group")
SUBJECTS_MAX = 1000
"""A bound of ours."""


class BindingStrategy(Strategy):
    """Who has which role, in a namespace or everywhere."""

    has_dependents = False

    def name_problems(self, name: str) -> list[str]:
        """Names such as `system:node` are allowed."""
        return names.path_segment(name)

    def default(self, obj: RoleBinding | ClusterRoleBinding) -> None:
        """Roles, users and groups are of RBAC's own group."""
        obj.roleRef.apiGroup = obj.roleRef.apiGroup or GROUP
        for subject in obj.subjects:
            if subject.kind in ("User", "Group"):
                subject.apiGroup = subject.apiGroup or GROUP

    def validate(self, obj: RoleBinding | ClusterRoleBinding) -> list[FieldError]:
        """A role that can be, and subjects that can be."""
        findings = [*_role_problems(obj.roleRef, self.resource.namespaced)]
        findings += few("subjects", obj.subjects, SUBJECTS_MAX)
        for number, subject in enumerate(obj.subjects[:SUBJECTS_MAX]):
            path = f"subjects[{number}]"
            findings += _subject_problems(path, subject, namespaced=self.resource.namespaced)
        return findings

    def validate_update(
        self, new: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding
    ) -> list[FieldError]:
        """Who has something is changed; what they have is another binding."""
        if new.roleRef == old.roleRef:
            return []
        ref = new.roleRef
        shown = {"apiGroup": ref.apiGroup, "kind": ref.kind, "name": ref.name}
        return [errors.invalid("roleRef", shown, "cannot change roleRef")]


def _role_problems(ref: RoleRef, namespaced: bool) -> Iterator[FieldError]:
    if ref.apiGroup != GROUP:
        yield errors.not_supported("roleRef.apiGroup", ref.apiGroup, [GROUP])
    allowed = ROLES if namespaced else ROLES[1:]
    if ref.kind not in allowed:
        yield errors.not_supported("roleRef.kind", ref.kind, allowed)
    if not ref.name:
        yield errors.required("roleRef.name")
    else:
        yield from named("roleRef.name", ref.name, names.path_segment)


def _subject_problems(path: str, subject: Subject, *, namespaced: bool) -> Iterator[FieldError]:
    if not subject.name:
        yield errors.required(f"{path}.name")
    match subject.kind:
        case "ServiceAccount":
            if subject.name:
                yield from named(f"{path}.name", subject.name, names.dns_subdomain)
            if subject.apiGroup:
                yield errors.not_supported(f"{path}.apiGroup", subject.apiGroup, [""])
            if not namespaced and not subject.namespace:
                yield errors.required(f"{path}.namespace")
        case "User" | "Group":
            if subject.apiGroup != GROUP:
                yield errors.not_supported(f"{path}.apiGroup", subject.apiGroup, [GROUP])
        case _:
            yield errors.not_supported(f"{path}.kind", subject.kind, SUBJECTS)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a RoleBinding or ClusterRoleBinding."""
    ref = obj.get("roleRef", {})
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"{subject.get('namespace', '')}/{name}"
        named.setdefault(subject.get("kind", ""), []).append(name)
    return {
        "Role": f"{ref.get('kind', '')}/{ref.get('name', '')}",
        "Users": ", ".join(named["User"]),
        "Groups": ", ".join(named["Group"]),
        "ServiceAccounts": ", ".join(named["ServiceAccount"]),
    }


RULES = dict.fromkeys(
    ("clusterrolebindings.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"),
    Rules(BindingStrategy, cells_of),
)
