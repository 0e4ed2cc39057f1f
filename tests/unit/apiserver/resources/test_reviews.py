"""Questions about who may do what: what is answered, and which are no questions."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.scheme import SCHEME
from common.security.identity import Identity
from master.apiserver.resources.authorization.reviews import reviews
from tests.fakes.roles import GROUP, authorizer, binding, role, rule

BOB = Identity("bob", ("dev", "system:authenticated"))
ANSWERS = reviews(
    authorizer(
        role("reader", rule("get", "pods", "core"), rule("get", urls="/metrics")),
        binding("b", "ClusterRole", "reader", GROUP),
    )
)
PODS = {"verb": "get", "resource": "pods", "namespace": "a"}


def answer(plural: str, spec: dict[str, Any], *, user: Identity = BOB, namespace: str = "") -> Any:
    """The status that a review is answered with."""
    group = "authentication.k8s.io" if plural == "selfsubjectreviews" else "authorization.k8s.io"
    resource = SCHEME.require(group, "v1", plural)
    plain = {"apiVersion": resource.api_version, "kind": resource.kind}
    if plural != "selfsubjectreviews":
        plain["spec"] = spec  # type: ignore[assignment]
    obj, findings = codec.convert_request(plain, SCHEME.struct_of(resource))
    assert findings == []
    ANSWERS[resource.group_resource].answer(user, resource, namespace, obj)
    return codec.decode_plain(codec.encode(obj))["status"]


def test_may_i() -> None:
    plural = "selfsubjectaccessreviews"
    assert answer(plural, {"resourceAttributes": PODS}) == {
        "allowed": True,
        "reason": 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "reader" to Group "dev"',
    }
    assert answer(plural, {"resourceAttributes": {**PODS, "verb": "list"}}) == {"allowed": False}
    path = {"path": "/metrics", "verb": "get"}
    assert answer(plural, {"nonResourceAttributes": path})["allowed"]


def test_may_somebody() -> None:
    plural, spec = "subjectaccessreviews", {"resourceAttributes": PODS}
    assert answer(plural, {**spec, "user": "tom", "groups": ["dev"]})["allowed"]
    assert not answer(plural, {**spec, "user": "tom"})["allowed"]
    node = {"user": "system:node:n1", "groups": ["system:nodes"]}
    denied = answer(plural, {**spec, **node})
    assert (denied["allowed"], denied["denied"]) == (False, True)


def test_may_somebody_in_a_namespace() -> None:
    spec = {"resourceAttributes": PODS, "user": "tom", "groups": ["dev"]}
    assert answer("localsubjectaccessreviews", spec, namespace="a")["allowed"]


@pytest.mark.parametrize(
    ("plural", "spec", "message"),
    [
        ("selfsubjectaccessreviews", {}, "spec.resourceAttributes: Invalid value: null: exactly "
         "one of nonResourceAttributes or resourceAttributes must be specified"),
        ("selfsubjectaccessreviews",
         {"resourceAttributes": PODS, "nonResourceAttributes": {"path": "/x", "verb": "get"}},
         "spec.nonResourceAttributes: Invalid value: {}: cannot be specified in combination with "
         "resourceAttributes"),
        ("subjectaccessreviews", {"resourceAttributes": PODS},
         'spec.user: Invalid value: "": at least one of user or group must be specified'),
        ("localsubjectaccessreviews", {"resourceAttributes": PODS, "user": "x"},
         'spec.resourceAttributes.namespace: Invalid value: "a": must match metadata.namespace'),
        ("localsubjectaccessreviews",
         {"nonResourceAttributes": {"path": "/x", "verb": "get"}, "user": "x"},
         "spec.nonResourceAttributes: Invalid value: {}: disallowed on this kind of request"),
    ],
)  # fmt: skip
def test_what_is_no_question(plural: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as raised:
        answer(plural, spec, namespace="b")
    assert raised.value.code == 422
    assert message in raised.value.message


def test_rules_are_those_of_a_namespace() -> None:
    """A request that names none is malformed, says Kubernetes, rather than invalid."""
    with pytest.raises(StatusError) as raised:
        answer("selfsubjectrulesreviews", {}, namespace="b")
    assert (raised.value.code, raised.value.message) == (400, "no namespace on request")


def test_all_that_i_may() -> None:
    found = answer("selfsubjectrulesreviews", {"namespace": "a"})
    assert found == {
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
        "incomplete": False,
    }
    everything = answer(
        "selfsubjectrulesreviews", {"namespace": "a"}, user=Identity("x", ("system:masters",))
    )
    assert everything["resourceRules"] == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    node = Identity("system:node:n1", ("system:nodes",))
    assert answer("selfsubjectrulesreviews", {"namespace": "a"}, user=node)["incomplete"]


def test_who_am_i() -> None:
    assert answer("selfsubjectreviews", {}) == {
        "userInfo": {"username": "bob", "groups": ["dev", "system:authenticated"]}
    }
