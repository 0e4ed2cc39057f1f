"""Roles and bindings: what may stand in them, and who may write them."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.api.types.rbac_v1 import AggregationRule, ClusterRole
from common.security.identity import Identity
from master.apiserver.admission.plugins.rbac_escalation import RbacEscalation
from master.apiserver.auth.authorizers.rbac import GROUP
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from tests.fakes.roles import USER, authorizer, binding, role, rule
from tests.unit.apiserver.conftest import Writer

READS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
BOB = Identity("bob", ("system:authenticated",))
GIVEN = authorizer(
    role("reader", rule("get,list", "pods", "core")),
    role("all", rule("*", "*", "*")),
    role(
        "lender",
        rule("escalate", "roles", GROUP, "lent"),
        rule("bind", "clusterroles", GROUP, "all"),
    ),
    binding("b", "ClusterRole", "reader", USER, namespace="a"),
    binding("c", "ClusterRole", "lender", USER, namespace="lending"),
)


def named(**more: Any) -> dict[str, Any]:
    """An object with a name that has colons."""
    return {"metadata": {"name": "system:x", "namespace": "default"}, **more}


@pytest.mark.parametrize(
    ("plural", "plain", "found"),
    [
        ("roles", {"rules": [READS]}, []),
        ("roles", {"rules": [{**READS, "verbs": []}]},
         ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        ("roles", {"rules": [{**READS, "apiGroups": []}]},
         ["rules[0].apiGroups: Required value: resource rules must supply at least one api group"]),
        ("roles", {"rules": [READS, {**READS, "resources": []}]},
         ["rules[1].resources: Required value: resource rules must supply at least one resource"]),
        ("roles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
         ['rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to '
          "non-resource URLs"]),
        ("clusterroles", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}, []),
        ("clusterroles", {"rules": [{**READS, "nonResourceURLs": ["/x"]}]},
         ['rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular '
          "resources and non-resource URLs"]),
        ("clusterroles", {"rules": [{**READS, "resourceNames": [f"n{i}" for i in range(1998)]}]},
         ["rules: Too many: 2001: must have at most 2000 items"]),
        ("clusterroles", {"aggregationRule": {}},
         ["aggregationRule.clusterRoleSelectors: Required value: at least one "
          "clusterRoleSelector required if aggregationRule is non-nil"]),
        ("rolebindings", {"roleRef": {"kind": "Role", "name": "r"}}, []),
        ("rolebindings", {"roleRef": {"kind": "Pod", "name": "", "apiGroup": "apps"}},
         ['roleRef.apiGroup: Unsupported value: "apps": supported values: '
          '"rbac.authorization.k8s.io"',
          'roleRef.kind: Unsupported value: "Pod": supported values: "Role", "ClusterRole"',
          "roleRef.name: Required value"]),
        ("clusterrolebindings", {"roleRef": {"kind": "Role", "name": "r"}},
         ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']),
        ("rolebindings", {"roleRef": {"kind": "Role", "name": "r"},
                          "subjects": [{"kind": "User", "name": "", "apiGroup": "x"},
                                       {"kind": "ServiceAccount", "name": "Ci", "apiGroup": "x"},
                                       {"kind": "Robot", "name": "r"}]},
         ["subjects[0].name: Required value",
          'subjects[0].apiGroup: Unsupported value: "x": supported values: '
          '"rbac.authorization.k8s.io"',
          'subjects[1].name: Invalid value: "Ci": a lowercase RFC 1123 subdomain must consist of '
          "lower case alphanumeric characters, '-' or '.', and must start and end with an "
          "alphanumeric character (e.g. 'example.com', regex used for validation is "
          "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
          'subjects[1].apiGroup: Unsupported value: "x": supported values: ""',
          'subjects[2].kind: Unsupported value: "Robot": supported values: "ServiceAccount", '
          '"User", "Group"']),
        ("clusterrolebindings", {"roleRef": {"kind": "ClusterRole", "name": "r"},
                                 "subjects": [{"kind": "ServiceAccount", "name": "ci"}]},
         ["subjects[0].namespace: Required value"]),
    ],
)  # fmt: skip
def test_what_may_stand_in_them(
    writer: Writer, plural: str, plain: dict[str, Any], found: list[str]
) -> None:
    assert writer.create_problems(f"{plural}.{GROUP}", named(**plain)) == found


def test_a_binding_keeps_its_role(writer: Writer) -> None:
    plain = named(roleRef={"kind": "Role", "name": "r"}, subjects=[{"kind": "User", "name": "a"}])
    other = {**plain, "subjects": []}
    assert writer.update_problems(f"rolebindings.{GROUP}", other, plain) == []
    other["roleRef"] = {"kind": "Role", "name": "s"}
    [found] = writer.update_problems(f"rolebindings.{GROUP}", other, plain)
    assert found.startswith("roleRef: Invalid value: ")
    assert found.endswith(": cannot change roleRef")


async def admitted(user: Identity, plural: str, new: Any, old: Any = None) -> str:
    """What admission says; '' when it says nothing."""
    step = RbacEscalation(GIVEN, SCHEME)
    try:
        target = Target(SCHEME.require(GROUP, "v1", plural))
        await step(Context(user=user), target, new, old)
    except StatusError as error:
        return error.message
    return ""


async def test_nobody_gives_what_they_have_not() -> None:
    more = role(
        "r", rule("get,delete", "pods", "core"), rule("get", "nodes", "core"), namespace="a"
    )
    assert await admitted(BOB, "roles", more) == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "bob" '
        '(groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently '
        'held:\n{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}'
    )
    less = role("r", rule("get", "pods", "core"), namespace="a")
    assert await admitted(BOB, "roles", less) == ""
    assert await admitted(BOB, "roles", role("r", *less.rules, namespace="b")) != ""
    assert await admitted(Identity("x", ("system:masters",)), "roles", more) == ""


async def test_what_stays_as_it_was_is_not_looked_at() -> None:
    """Labels of a role may be changed by who has not its rules."""
    strong = role("r", rule("*", "*", "*"), namespace="a")
    assert await admitted(BOB, "roles", strong, strong) == ""


async def test_who_may_escalate_or_bind_need_not_have_it() -> None:
    strong = rule("*", "*", "*")
    assert await admitted(BOB, "roles", role("lent", strong, namespace="lending")) == ""
    assert await admitted(BOB, "roles", role("other", strong, namespace="lending")) != ""
    bound = binding("x", "ClusterRole", "all", USER, namespace="lending")
    assert await admitted(BOB, "rolebindings", bound) == ""
    bound = binding("x", "ClusterRole", "all", USER, namespace="a")
    assert await admitted(BOB, "rolebindings", bound) != ""
    assert await admitted(BOB, "clusterrolebindings", binding("x", "ClusterRole", "all")) != ""


async def test_more_rules_than_can_be_compared_are_refused() -> None:
    """Before they are: five lists of words multiply."""
    words = ",".join(f"w{number}" for number in range(200))
    said = await admitted(BOB, "roles", role("r", rule(words, words, "core"), namespace="a"))
    assert said.endswith('"r" is invalid: rules: Too many: 40000: must have at most 5000 items')


async def test_a_binding_gives_what_the_writer_has() -> None:
    bound = binding("x", "ClusterRole", "reader", USER, namespace="a")
    assert await admitted(BOB, "rolebindings", bound) == ""
    bound = binding("x", "ClusterRole", "nothing", USER, namespace="a")
    said = await admitted(BOB, "rolebindings", bound)
    assert said == 'clusterroles.rbac.authorization.k8s.io "nothing" not found'


async def test_an_aggregated_role_needs_everything() -> None:
    """Whatever is labelled later becomes a part of it."""
    made = role("r")
    assert isinstance(made, ClusterRole)
    made.aggregationRule = AggregationRule()
    assert "attempting to grant" in await admitted(BOB, "clusterroles", made)
