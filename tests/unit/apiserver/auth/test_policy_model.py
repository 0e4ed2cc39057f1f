"""Authorizers against naive ones that look at everything each time (G5, G15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from common.api.types.core_v1 import Pod
from common.api.types.rbac_v1 import ClusterRole, PolicyRule, Role, Subject
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizers.node import NodeAuthorizer
from master.apiserver.auth.authorizers.rbac import Binding, Policy
from tests.fakes.pods import container, pod
from tests.fakes.roles import binding, role
from tests.unit.apiserver.auth.test_authorizer import cache_of

NAMESPACES = ("", "a")
NAMES = ("", "x", "y")
SUBJECTS = (
    Subject(kind="User", name="bob"),
    Subject(kind="Group", name="dev"),
    Subject(kind="Group", name="system:serviceaccounts:a"),
    Subject(kind="ServiceAccount", name="ci", namespace="a"),
)
USERS = (
    Identity("bob"),
    Identity("tom", ("dev",)),
    Identity("system:serviceaccount:a:ci", ("system:serviceaccounts:a",)),
    Identity("nobody"),
)
some = st.sampled_from
rules = st.builds(
    PolicyRule,
    verbs=st.tuples(some(("get", "list", "*"))),
    apiGroups=st.tuples(some(("", "*"))),
    resources=st.tuples(some(("pods", "pods/log", "*", "*/log"))),
    resourceNames=st.one_of(st.just(()), st.tuples(some(("x", "y")))),
)
roles = st.builds(
    lambda name, rule, space: role(name, rule, namespace=space),
    st.just("r"),
    rules,
    some(NAMESPACES),
)
bindings = st.builds(
    lambda name, kind, of, who, space: binding(
        name, kind if space else "ClusterRole", of, *who, namespace=space
    ),
    some(("one", "two")),
    some(("Role", "ClusterRole")),
    st.just("r"),
    st.lists(some(SUBJECTS), min_size=1, max_size=3),
    some(NAMESPACES),
)
is_there = st.sampled_from((True, True, True, False))
changes = st.lists(st.tuples(is_there, st.one_of(roles, bindings)), min_size=2, max_size=12)
ASKED = [
    Attributes(verb, group, "pods", sub, namespace, name)
    for verb in ("get", "list")
    for group in ("", "apps")
    for sub in ("", "log")
    for namespace in (*NAMESPACES, "b")
    for name in NAMES
]


class Naive:
    """All there is, in the order of the pages of the documentation."""

    def __init__(self) -> None:
        self.roles: dict[tuple[str, str], Role | ClusterRole] = {}
        self.bindings: dict[tuple[str, str], Binding] = {}

    def allows(self, user: Identity, wanted: Attributes) -> bool:
        return any(
            self._is_about(rule, wanted)
            for bound in self.bindings.values()
            if bound.metadata.namespace in ("", wanted.namespace)
            and any(self._is(user, one, bound.metadata.namespace) for one in bound.subjects)
            for rule in self._rules(bound)
        )

    def _rules(self, bound: Binding) -> Sequence[PolicyRule]:
        space = bound.metadata.namespace if bound.roleRef.kind == "Role" else ""
        found = self.roles.get((space, bound.roleRef.name))
        return found.rules if found else ()

    def _is(self, user: Identity, subject: Subject, namespace: str) -> bool:
        match subject.kind:
            case "User":
                return user.user == subject.name
            case "Group":
                return subject.name in user.groups
        account = f"{subject.namespace or namespace}:{subject.name}"
        return user.user == f"system:serviceaccount:{account}"

    def _is_about(self, rule: PolicyRule, wanted: Attributes) -> bool:
        what = wanted.plural + (f"/{wanted.subresource}" if wanted.subresource else "")
        resources = {what, "*"}
        if wanted.subresource:
            resources.add(f"*/{wanted.subresource}")
        return (
            bool({wanted.verb, "*"} & set(rule.verbs))
            and bool({wanted.group, "*"} & set(rule.apiGroups))
            and bool(resources & set(rule.resources))
            and (not rule.resourceNames or wanted.name in rule.resourceNames)
        )


def change(policy: Policy, naive: Naive, is_there: bool, one: Role | ClusterRole | Binding) -> None:
    """Make a role or binding be there, or gone, in both."""
    place = (one.metadata.namespace, one.metadata.name)
    if isinstance(one, Role | ClusterRole):
        if is_there:
            policy.set_role(one)
            naive.roles[place] = one
        else:
            policy.remove_role(*place)
            naive.roles.pop(place, None)
    elif is_there:
        policy.set_binding(one)
        naive.bindings[place] = one
    else:
        policy.remove_binding(*place)
        naive.bindings.pop(place, None)


@given(changes)
def test_roles_decide_as_a_naive_reader_of_all_of_them_would(
    made: list[tuple[bool, Role | ClusterRole | Binding]],
) -> None:
    policy, naive = Policy(), Naive()
    for there, one in made:
        change(policy, naive, there, one)
    for user in USERS:
        for wanted in ASKED:
            assert bool(policy.allows(user, wanted)) == naive.allows(user, wanted)


def placed(name: str, node: str, namespace: str, uses: list[tuple[str, str]]) -> Pod:
    """A pod on a node that names ConfigMaps and Secrets in one of the ways there are."""
    env = [{"secretRef": {"name": n}} for kind, n in uses if kind == "env secrets"]
    env += [{"configMapRef": {"name": n}} for kind, n in uses if kind == "env configmaps"]
    volumes = [
        {"name": f"v{number}", "secret": {"secretName": n}}
        for number, (kind, n) in enumerate(uses)
        if kind == "volume secrets"
    ]
    pulls = [{"name": n} for kind, n in uses if kind == "pull secrets"]
    made = pod(
        metadata={"name": name, "namespace": namespace, "annotations": {"note": "n1 n2 x y z"}},
        containers=[container(envFrom=env)],
        volumes=volumes,
        imagePullSecrets=pulls,
    )
    made.spec.nodeName = node
    return made


uses = st.lists(
    st.tuples(
        some(("env secrets", "env configmaps", "volume secrets", "pull secrets")), some("xyz")
    ),
    min_size=1,
    max_size=2,
)
placements = st.lists(
    st.tuples(some(("n1", "n2", "")), some(("a", "b")), uses), min_size=1, max_size=5
)


def reads(placed_pods: list[tuple[str, str, list[tuple[str, str]]]]) -> Iterator[tuple[str, ...]]:
    """(node, plural, namespace, name) of all that the pods of a node name."""
    for node, namespace, used in placed_pods:
        for kind, name in used:
            yield node, kind.split()[1], namespace, name


@given(placements)
async def test_a_node_reads_what_its_pods_name_and_nothing_else(
    placed_pods: list[tuple[str, str, list[tuple[str, str]]]],
) -> None:
    pods = [placed(f"p{n}", *one) for n, one in enumerate(placed_pods)]
    authorizer, allowed = NodeAuthorizer(await cache_of(*pods)), set(reads(placed_pods))
    for node in ("n1", "n2"):
        for plural in ("secrets", "configmaps"):
            for namespace in ("a", "b"):
                for name in "xyz":
                    wanted = Attributes("get", "", plural, namespace=namespace, name=name)
                    expected = (node, plural, namespace, name) in allowed
                    assert authorizer.allows(node, wanted) is expected
                    for verb in ("list", "watch", "update", "delete"):
                        assert not authorizer.allows(node, wanted._replace(verb=verb))
