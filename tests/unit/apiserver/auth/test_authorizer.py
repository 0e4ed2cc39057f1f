"""Who decides: administrators, nodes from what is bound to them, roles for all others."""

from __future__ import annotations

import pytest

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.types import Time
from common.api.types.core_v1 import Pod
from common.api.types.rbac_v1 import Subject
from common.security.identity import Identity
from master.apiserver.auth.attributes import Attributes
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.authorizers.node import NodeAuthorizer
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.watchcache import WatchCache
from tests.fakes import roles
from tests.fakes.clock import FakeClock
from tests.fakes.pods import container, pod
from tests.fakes.roles import USER, binding, role, rule

NODE = Identity("system:node:n1", ("system:nodes", "system:authenticated"))
JOINING = Identity("system:bootstrap:abcdef", ("system:bootstrappers",))
CSRS = ("certificates.k8s.io", "certificatesigningrequests")
LEASES = ("coordination.k8s.io", "leases")
EVERYTHING = (
    role("all", rule("*", "*", "*"), rule("*", urls="*")),
    binding("b", "ClusterRole", "all", USER),
)


def bound(name: str, node: str, secret: str = "") -> Pod:
    """A pod of namespace a, on a node."""
    env = [{"secretRef": {"name": secret}}] if secret else []
    made = pod(metadata={"name": name, "namespace": "a"}, containers=[container(envFrom=env)])
    made.spec.nodeName = node
    return made


async def cache_of(*pods: Pod) -> WatchCache:
    """One that holds these pods."""
    clock = FakeClock()
    store = MemoryStore(clock)
    for one in pods:
        key = registry_key("pods", one.metadata.name, one.metadata.namespace)
        await store.create(key, codec.encode(one))
    made = WatchCache(store, clock)
    await made._load()
    return made


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (Attributes("get", path="/ports"), True),
        (Attributes("post", path="/rotation"), False),
        (Attributes("get", "", "nodes", name="n1"), True),
        (Attributes("get", "", "nodes", name="n2"), False),
        (Attributes("list", "", "nodes"), False),
        (Attributes("patch", "", "nodes", "status", name="n1"), True),
        (Attributes("patch", "", "nodes", name="n1"), False),
        (Attributes("patch", "", "nodes", "status", name="n2"), False),
        (Attributes("get", "", "pods", namespace="a", name="mine"), True),
        (Attributes("get", "", "pods", namespace="a", name="theirs"), False),
        (Attributes("get", "", "pods", namespace="a", name="nobodys"), False),
        (Attributes("list", "", "pods", namespace="a"), False),
        (Attributes("delete", "", "pods", namespace="a", name="mine"), False),
        (Attributes("patch", "", "pods", "status", "a", "mine"), True),
        (Attributes("patch", "", "pods", "status", "a", "theirs"), False),
        (Attributes("get", "", "pods", "log", "a", "mine"), False),
        (Attributes("get", "", "secrets", namespace="a", name="used"), True),
        (Attributes("get", "", "secrets", namespace="b", name="used"), False),
        (Attributes("get", "", "secrets", namespace="a", name="use"), False),
        (Attributes("get", "", "secrets", namespace="a", name="theirs-only"), False),
        (Attributes("get", "", "secrets", namespace="a", name=""), False),
        (Attributes("get", "", "secrets", namespace="..", name="used"), False),
        (Attributes("list", "", "secrets", namespace="a"), False),
        (Attributes("get", "", "configmaps", namespace="a", name="used"), False),
        (Attributes("delete", "", "pods", namespace="a", name="going"), True),
        (Attributes("delete", "", "pods", namespace="a", name="going-there"), False),
        (Attributes("create", "", "nodes", name="n1"), True),
        (Attributes("create", "", "nodes", name="n2"), False),
        (Attributes("create", "", "nodes"), False),
        (Attributes("list", "", "services"), True),
        (Attributes("watch", "discovery.k8s.io", "endpointslices"), True),
        (Attributes("update", "", "services", namespace="a", name="s"), False),
        (Attributes("create", "", "serviceaccounts", "token", "a", "web"), True),
        (Attributes("create", "", "serviceaccounts", "token", "b", "web"), False),
        (Attributes("create", "", "serviceaccounts", "token", "a", "theirs"), False),
        (Attributes("create", "", "serviceaccounts", "token", "a", ""), False),
        (Attributes("get", "", "serviceaccounts", "", "a", "web"), False),
        (Attributes("create", "", "serviceaccounts", "", "a", "web"), False),
        (Attributes("create", *CSRS), True),
        (Attributes("create", *CSRS, "approval"), False),
        (Attributes("update", *LEASES, namespace="kube-node-lease", name="n1"), True),
        (Attributes("update", *LEASES, namespace="kube-node-lease", name="n2"), False),
        (Attributes("update", *LEASES, namespace="kube-system", name="n1"), False),
        (Attributes("get", "apps", "nodes", name="n1"), False),
    ],
)
async def test_a_node_may_what_is_its_own(wanted: Attributes, allowed: bool) -> None:
    going, there = bound("going", "n1"), bound("going-there", "n2")
    for one in (going, there):
        one.metadata.deletionTimestamp = Time("2030-01-01T00:00:00Z")
    pods = (bound("mine", "n1", "used"), bound("theirs", "n2", "theirs-only"), going, there)
    pods[0].spec.serviceAccountName, pods[1].spec.serviceAccountName = "web", "theirs"
    authorizer = roles.authorizer(*EVERYTHING, cache=await cache_of(*pods))
    decision = authorizer.decide(NODE, wanted)
    assert (decision.allowed, decision.denied) == (allowed, not allowed)


def test_no_role_gives_a_node_more() -> None:
    """Its no is final: also for one that a binding names."""
    nodes = Subject(kind="Group", name="system:nodes")
    given = (role("all", rule("*", "*", "*")), binding("b", "ClusterRole", "all", nodes))
    authorizer = roles.authorizer(*given)
    nobodys = Identity("bob", ("system:nodes",))
    assert authorizer.decide(nobodys, Attributes("list", "", "secrets")).allowed, "no node's name"
    assert authorizer.decide(NODE, Attributes("list", "", "secrets")).denied


@pytest.mark.parametrize(
    ("user", "wanted", "allowed"),
    [
        (Identity("root", ("system:masters",)), Attributes("delete", "x", "y", "z"), True),
        (JOINING, Attributes("create", *CSRS), True),
        (JOINING, Attributes("get", *CSRS, name="c"), True),
        (JOINING, Attributes("list", *CSRS), False),
        (JOINING, Attributes("create", *CSRS, "approval"), False),
        (JOINING, Attributes("get", path="/api"), False),
        (Identity("bob"), Attributes("delete", "x", "y", "z"), True),
        (Identity("tom"), Attributes("get", "", "pods"), False),
    ],
)
def test_others(user: Identity, wanted: Attributes, allowed: bool) -> None:
    authorizer = roles.authorizer(*EVERYTHING)
    assert authorizer.decide(user, wanted).allowed is allowed


@pytest.mark.parametrize(
    ("wanted", "message", "details"),
    [
        (
            Attributes("list", "", "pods", namespace="a"),
            'pods is forbidden: User "tom" cannot list resource "pods" in API group "" in the '
            'namespace "a"',
            {"kind": "pods"},
        ),
        (
            Attributes("get", "apps", "deployments", "scale", "a", "d"),
            'deployments.apps "d" is forbidden: User "tom" cannot get resource '
            '"deployments/scale" in API group "apps" in the namespace "a"',
            {"name": "d", "group": "apps", "kind": "deployments"},
        ),
        (
            Attributes("get", "", "nodes", name="n1"),
            'nodes "n1" is forbidden: User "tom" cannot get resource "nodes" in API group "" at '
            "the cluster scope",
            {"name": "n1", "kind": "nodes"},
        ),
        (
            Attributes("get", path="/metrics"),
            'forbidden: User "tom" cannot get path "/metrics"',
            {},
        ),
    ],
)
def test_a_denial_says_who_may_not_do_what(
    wanted: Attributes, message: str, details: dict[str, str]
) -> None:
    authorizer = roles.authorizer(*EVERYTHING)
    with pytest.raises(StatusError) as raised:
        authorizer.authorize(Identity("tom"), wanted)
    assert (raised.value.code, raised.value.message) == (403, message)
    assert raised.value.details == details


async def test_whose_certificate_counts_no_longer_is_not_known() -> None:
    known = NodeAuthorizer(await cache_of())
    authorizer = Authorizer(known, roles.policy(*EVERYTHING), lambda _: "it was revoked")
    with pytest.raises(StatusError) as raised:
        authorizer.check_certificate(Identity("root", ("system:masters",)))
    assert (raised.value.code, raised.value.message) == (401, "it was revoked")
