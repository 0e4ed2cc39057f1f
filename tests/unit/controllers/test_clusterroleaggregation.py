"""ClusterRoles that are made of others."""

from __future__ import annotations

from common.api.types.meta_v1 import LabelSelector, ObjectMeta
from common.api.types.rbac_v1 import AggregationRule, ClusterRole, PolicyRule, Subject
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizers.rbac import Policy
from master.apiserver.auth.policy import defaults
from master.controllers.rbac.clusterroleaggregation import ROLES, ClusterRoleAggregationController
from tests.fakes.roles import binding
from tests.unit.controllers.sim import Cluster

CONTROLLER = ClusterRoleAggregationController()
READ = PolicyRule(verbs=("get",), apiGroups=("",), resources=("pods",))
WRITE = PolicyRule(verbs=("create",), apiGroups=("",), resources=("pods",))


def part(name: str, *rules: PolicyRule, **labels: str) -> ClusterRole:
    """A role with labels."""
    return ClusterRole(metadata=ObjectMeta(name=name, labels=labels), rules=rules)


def whole(name: str, *labels: str) -> ClusterRole:
    """One that is made of all roles with one of these labels."""
    selectors = tuple(LabelSelector(matchLabels={label: "yes"}) for label in labels)
    rule = AggregationRule(clusterRoleSelectors=selectors)
    return ClusterRole(metadata=ObjectMeta(name=name), aggregationRule=rule)


def settled(cluster: Cluster) -> None:
    """Every aggregated role is reconciled until nothing changes."""
    resource = cluster.listers[ROLES].resource
    while any(
        cluster.reconcile(CONTROLLER, key)
        for key in CONTROLLER.keys(cluster.view, resource, None, None)
    ):
        pass


def rules(cluster: Cluster, name: str) -> tuple[PolicyRule, ...]:
    """Those of a role."""
    return cluster.get(ClusterRole, name, "").rules


def test_each_rule_of_the_chosen_once() -> None:
    cluster = Cluster()
    for one in (
        whole("w", "a", "b"),
        part("p2", READ, WRITE, a="yes"),
        part("p1", READ, b="yes"),
        part("p3", PolicyRule(), a="no"),
    ):
        cluster.put(one)
    settled(cluster)
    assert rules(cluster, "w") == (READ, WRITE)
    assert rules(cluster, "p1") == (READ,)


def test_what_is_written_there_is_replaced() -> None:
    cluster = Cluster()
    one = whole("w", "a")
    one.rules = (WRITE,)
    cluster.put(one)
    settled(cluster)
    assert rules(cluster, "w") == ()
    cluster.put(part("p", READ, a="yes"))
    settled(cluster)
    assert rules(cluster, "w") == (READ,)
    cluster.remove(ClusterRole, "p", "")
    settled(cluster)
    assert rules(cluster, "w") == ()


def test_aggregated_roles_are_made_of_each_other() -> None:
    """As `edit` is of `view`; one that chooses itself gains nothing by it."""
    cluster = Cluster()
    inner = whole("inner", "a")
    inner.metadata.labels = {"b": "yes"}
    outer = whole("outer", "b")
    outer.metadata.labels = {"b": "yes"}
    for one in (outer, inner, part("p", READ, a="yes")):
        cluster.put(one)
    settled(cluster)
    assert rules(cluster, "outer") == rules(cluster, "inner") == (READ,)


def test_the_roles_for_users() -> None:
    """What `admin`, `edit` and `view` may do once they are whole."""
    cluster = Cluster()
    for one in defaults.roles():
        cluster.put(one)
    settled(cluster)
    policy = Policy()
    for found in cluster.list(ClusterRole):
        policy.set_role(found)
    for name in ("admin", "edit", "view"):
        user = Subject(kind="User", name=name)
        policy.set_binding(binding(name, "ClusterRole", name, user, namespace="a"))
    may = {
        name: {what for what, wanted in WANTED.items() if policy.allows(Identity(name), wanted)}
        for name in ("admin", "edit", "view")
    }
    assert may["view"] == {"see pods", "see logs"}
    assert may["edit"] == may["view"] | {"see secrets", "make pods", "scale", "be an account"}
    assert may["admin"] == may["edit"] | {"make roles"}


WANTED = {
    "see pods": Attributes("list", "", "pods", namespace="a"),
    "see logs": Attributes("get", "", "pods", "log", "a", "p"),
    "see secrets": Attributes("get", "", "secrets", namespace="a", name="s"),
    "make pods": Attributes("create", "", "pods", namespace="a"),
    "scale": Attributes("patch", "apps", "deployments", "scale", "a", "d"),
    "be an account": Attributes("impersonate", "", "serviceaccounts", namespace="a", name="s"),
    "make roles": Attributes("create", "rbac.authorization.k8s.io", "roles", namespace="a"),
    "see nodes": Attributes("list", "", "nodes"),
    "see pods elsewhere": Attributes("list", "", "pods", namespace="b"),
    "change quotas": Attributes("update", "", "resourcequotas", namespace="a", name="q"),
}
