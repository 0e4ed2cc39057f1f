"""The roles that every cluster has, and what is put right of them."""

from __future__ import annotations

import pytest

from common.api.types.meta_v1 import ObjectMeta
from common.api.types.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Subject
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.policy import defaults
from tests.fakes.roles import binding, default_policy, role, rule

ROLES = {(one.metadata.namespace, one.metadata.name): one for one in defaults.roles()}


def test_every_binding_names_a_role_that_is_there() -> None:
    for bound in defaults.bindings():
        ref, namespace = bound.roleRef, bound.metadata.namespace
        assert (namespace if ref.kind == "Role" else "", ref.name) in ROLES


def test_users_facing_roles_are_made_of_others() -> None:
    for name in ("admin", "edit", "view"):
        found = ROLES["", name]
        assert isinstance(found, ClusterRole)
        assert found.aggregationRule is not None
        [selector] = found.aggregationRule.clusterRoleSelectors
        assert selector.matchLabels == {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}
        parts = [
            one
            for one in ROLES.values()
            if selector.matchLabels.items() <= one.metadata.labels.items()
        ]
        assert parts


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (Attributes("get", path="/api/v1"), True),
        (Attributes("get", path="/openapi/v3"), True),
        (Attributes("get", path="/version/"), True),
        (Attributes("get", path="/ports"), True),
        (Attributes("get", path="/rotation"), False),
        (Attributes("get", path="/metrics"), False),
        (Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews"), True),
        (Attributes("create", "authentication.k8s.io", "selfsubjectreviews"), True),
        (Attributes("create", "authorization.k8s.io", "subjectaccessreviews"), False),
        (Attributes("get", "", "pods", namespace="default"), False),
    ],
)
def test_who_is_known_may_look_around_and_ask_of_themselves(
    wanted: Attributes, allowed: bool
) -> None:
    someone = Identity("someone", ("system:authenticated",))
    assert bool(default_policy().allows(someone, wanted)) is allowed
    assert not default_policy().allows(Identity("stranger"), wanted)


def test_what_is_missing_is_added_and_what_was_added_stays() -> None:
    wanted = role("r", rule("get,list", "pods", "core"))
    own = rule("delete", "pods", "core")
    stored = role("r", rule("get", "pods", "core"), own)
    found = defaults.completed(stored, wanted)
    assert found is not None
    assert isinstance(found, ClusterRole)
    assert found.rules == (rule("get", "pods", "core"), own, rule("list", "pods", "core"))
    assert defaults.completed(found, wanted) is None


def test_a_subject_that_is_missing_is_added() -> None:
    bob, tom = (Subject(kind="User", name=name) for name in ("bob", "tom"))
    stored = binding("b", "ClusterRole", "r", tom)
    found = defaults.completed(stored, binding("b", "ClusterRole", "r", bob))
    assert isinstance(found, ClusterRoleBinding)
    assert found.subjects == (tom, bob)


def test_what_is_to_stay_as_it_is_does() -> None:
    stored = ClusterRole(
        metadata=ObjectMeta(name="r", annotations={defaults.AUTO_UPDATE: "false"}),
        rules=(PolicyRule(),),
    )
    assert defaults.completed(stored, role("r", rule("get", "pods", "core"))) is None
