"""RBAC's decisions: which rule is about what, who has which role, and what a rule gives away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api.types.rbac_v1 import PolicyRule, Subject
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizers.rbac import fits, uncovered
from tests.fakes.roles import GROUP, USER, binding, policy, role, rule

BOB = Identity("bob", ("dev", "system:authenticated"))
ACCOUNT = Subject(kind="ServiceAccount", name="ci", namespace="b")
GET_PODS = Attributes("get", "", "pods", namespace="a", name="p")


@pytest.mark.parametrize(
    ("one", "wanted", "expected"),
    [
        (rule("get", "pods", "core"), GET_PODS, True),
        (rule("list", "pods", "core"), GET_PODS, False),
        (rule("*", "*", "*"), GET_PODS, True),
        (rule("get", "pods", "apps"), GET_PODS, False),
        (rule("get", "pods", "core", "p"), GET_PODS, True),
        (rule("get", "pods", "core", "q"), GET_PODS, False),
        (rule("get", "pods", "core", "p"), Attributes("get", "", "pods", namespace="a"), False),
        (rule("get", "pods", "core"), Attributes("get", "", "pods", "log", "a", "p"), False),
        (rule("get", "pods/log", "core"), Attributes("get", "", "pods", "log", "a", "p"), True),
        (rule("get", "*/log", "core"), Attributes("get", "", "pods", "log", "a", "p"), True),
        (rule("get", "*/scale", "core"), Attributes("get", "", "pods", "log", "a", "p"), False),
        (rule("get", "*", "core"), Attributes("get", "", "pods", "log", "a", "p"), True),
        (rule("get", urls="/healthz"), Attributes("get", path="/healthz"), True),
        (rule("get", urls="/healthz"), Attributes("get", path="/healthz/etcd"), False),
        (rule("get", urls="/healthz/*"), Attributes("get", path="/healthz/etcd"), True),
        (rule("get", urls="/healthz/*"), Attributes("post", path="/healthz/etcd"), False),
        (rule("*", urls="*"), Attributes("post", path="/x"), True),
        (rule("*", "*", "*"), Attributes("get", path="/healthz"), False),
        (rule("*", urls="*"), GET_PODS, False),
    ],
)
def test_a_rule_is_about(one: PolicyRule, wanted: Attributes, expected: bool) -> None:
    assert fits(one, wanted) is expected


def test_a_role_of_a_namespace_counts_there_alone() -> None:
    made = policy(
        role("reader", rule("get", "pods", "core"), namespace="a"),
        binding("b", "Role", "reader", USER, namespace="a"),
    )
    said = made.allows(BOB, GET_PODS)
    assert said == 'RBAC: allowed by RoleBinding "b/a" of Role "reader" to User "bob"'
    assert made.allows(BOB, GET_PODS._replace(namespace="b")) == ""
    assert made.allows(BOB, GET_PODS._replace(namespace="")) == ""
    assert made.allows(Identity("tom", BOB.groups), GET_PODS) == ""


def test_a_cluster_role_counts_where_it_is_bound() -> None:
    reader = role("reader", rule("get", "pods", "core"), rule("get", urls="/metrics"))
    here = policy(reader, binding("b", "ClusterRole", "reader", GROUP, namespace="a"))
    everywhere = policy(reader, binding("b", "ClusterRole", "reader", GROUP))
    assert here.allows(BOB, GET_PODS)
    assert not here.allows(BOB, GET_PODS._replace(namespace="b"))
    assert not here.allows(BOB, Attributes("get", path="/metrics"))
    assert everywhere.allows(BOB, GET_PODS._replace(namespace="b"))
    said = everywhere.allows(BOB, Attributes("get", path="/metrics"))
    assert said == 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to Group "dev"'


def test_a_service_account_is_a_user_of_its_namespace() -> None:
    made = policy(
        role("reader", rule("get", "pods", "core")),
        binding("b", "ClusterRole", "reader", ACCOUNT, namespace="a"),
    )
    assert made.allows(Identity("system:serviceaccount:b:ci"), GET_PODS)
    assert not made.allows(Identity("system:serviceaccount:a:ci"), GET_PODS)
    assert not made.allows(Identity("ci"), GET_PODS)


def test_what_is_gone_gives_nothing() -> None:
    reader = role("reader", rule("get", "pods", "core"))
    bound = binding("b", "ClusterRole", "reader", USER, GROUP)
    made = policy(reader, bound)
    made.remove_role("", "reader")
    assert not made.allows(BOB, GET_PODS)
    made.set_role(reader)
    assert made.allows(BOB, GET_PODS)
    made.set_binding(binding("b", "ClusterRole", "reader", Subject(kind="User", name="tom")))
    assert not made.allows(BOB, GET_PODS)
    made.set_binding(bound)
    made.remove_binding("", "b")
    made.remove_binding("", "b")
    assert not made.allows(BOB, GET_PODS)


NAMES = st.sampled_from(["a", "b"])
SUBJECTS = st.builds(Subject, kind=st.sampled_from(["User", "Group"]), name=NAMES)
ROLES = st.sampled_from(["r", "s"])
WORDS = {"verbs": ["get", "list", "*"], "groups": ["core", "apps", "*"], "names": ["", "p"]}
RULES = st.builds(
    rule,
    verbs=st.sampled_from(WORDS["verbs"]),
    resources=st.sampled_from(["pods", "pods/log", "*/log", "*"]),
    groups=st.sampled_from(WORDS["groups"]),
    names=st.sampled_from(WORDS["names"]),
)
WANTED = st.builds(
    Attributes,
    verb=st.sampled_from(["get", "list"]),
    group=st.sampled_from(["", "apps"]),
    plural=st.sampled_from(["pods", "nodes"]),
    subresource=st.sampled_from(["", "log"]),
    namespace=st.sampled_from(["", "a", "b"]),
    name=st.sampled_from(["", "p", "q"]),
)


@given(
    changes=st.lists(
        st.tuples(st.sampled_from(["", "a"]), NAMES, ROLES, st.lists(SUBJECTS, max_size=2)),
        max_size=8,
    ),
    rules=st.dictionaries(ROLES, st.lists(RULES, max_size=2), max_size=2),
    wanted=WANTED,
)
def test_the_index_answers_as_all_bindings_would(
    changes: list[tuple[str, str, str, list[Subject]]],
    rules: dict[str, list[PolicyRule]],
    wanted: Attributes,
) -> None:
    """Whatever was bound before and is bound otherwise now."""
    made = policy(*(role(name, *found) for name, found in rules.items()))
    present: dict[tuple[str, str], tuple[str, list[Subject]]] = {}
    for namespace, name, of, subjects in changes:
        made.set_binding(binding(name, "ClusterRole", of, *subjects, namespace=namespace))
        present[namespace, name] = (of, subjects)
    user = Identity("a", ("b",))
    expected = any(
        namespace in ("", wanted.namespace)
        and any((s.kind, s.name) in (("User", "a"), ("Group", "b")) for s in subjects)
        and any(fits(one, wanted) for one in rules.get(of, ()))
        for (namespace, _), (of, subjects) in present.items()
    )
    assert bool(made.allows(user, wanted)) is expected


@given(owned=st.lists(RULES, max_size=3), asked=st.lists(RULES, max_size=3), wanted=WANTED)
def test_nothing_that_is_not_had_is_given(
    owned: list[PolicyRule], asked: list[PolicyRule], wanted: Attributes
) -> None:
    """Where all that is asked for is covered, nothing more is allowed by it than before."""
    if not uncovered(owned, asked) and any(fits(one, wanted) for one in asked):
        assert any(fits(one, wanted) for one in owned)


@given(rules=st.lists(RULES, max_size=3))
def test_everybody_has_what_they_have(rules: list[PolicyRule]) -> None:
    assert uncovered(rules, rules) == []


@pytest.mark.parametrize(
    ("owned", "asked", "missing"),
    [
        ([rule("get", "pods", "core")], [rule("get,list", "pods", "core")], ["list"]),
        ([rule("get", "pods", "core"), rule("list", "*", "core")],
         [rule("get,list", "pods", "core")], []),
        ([rule("get", "pods", "core", "p")], [rule("get", "pods", "core")], ["get"]),
        ([rule("get", "pods", "core")], [rule("get", "pods", "core", "p")], []),
        ([rule("get", "pods", "core")], [rule("get", "*", "core")], ["get"]),
        ([rule("get", "*/log", "core")], [rule("get", "pods/log", "core")], []),
        ([rule("get", urls="/a/*")], [rule("get", urls="/a/b")], []),
        ([rule("get", urls="/a/*")], [rule("get", urls="/a/b,/c")], ["get"]),
        ([rule("*", "*", "*")], [rule("get", urls="/a")], ["get"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    owned: Sequence[PolicyRule], asked: Sequence[PolicyRule], missing: list[str]
) -> None:
    assert [one.verbs[0] for one in uncovered(owned, asked)] == missing
