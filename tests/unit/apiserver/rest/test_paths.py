"""Which resource a path means, tricks included; which form of an answer a client gets."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import errors
from common.api.scheme import SCHEME
from master.apiserver.request import mediatypes
from master.apiserver.rest import discovery, negotiate, requestinfo
from master.apiserver.rest.requestinfo import RequestInfo
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock

CATALOGUE = fakes.whole(FakeClock()).catalogue


def parse(method: str, path: str, query: str = "") -> RequestInfo | None:
    parts = requestinfo.segments(path)
    return requestinfo.parse(method, parts, requestinfo.query(query), SCHEME)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods", ("list", "pods", "a", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/b", ("get", "pods", "a", "b", "")),
        ("PUT", "/api/v1/namespaces/a/pods/b/status", ("update", "pods", "a", "b", "status")),
        ("POST", "/api/v1/namespaces/a/pods/b/binding", ("create", "pods", "a", "b", "binding")),
        ("DELETE", "/api/v1/namespaces/a/pods", ("deletecollection", "pods", "a", "", "")),
        ("PATCH", "/api/v1/nodes/n", ("patch", "nodes", "", "n", "")),
        ("GET", "/api/v1/namespaces", ("list", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "namespaces", "", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "namespaces", "", "a", "finalize")),
        ("PUT", "/api/v1/namespaces/a/status", ("update", "namespaces", "", "a", "status")),
        ("GET", "/api/v1/watch/pods", ("watch", "pods", "", "", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods/b", ("watch", "pods", "a", "b", "")),
        (
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ("get", "deployments", "a", "b", "scale"),
        ),
        ("GET", "/api/v1/namespaces/a/pods/x%3Ay", ("get", "pods", "a", "x:y", "")),
    ],
)
def test_paths(method: str, path: str, expected: tuple[str, ...]) -> None:
    found = parse(method, path)
    assert found is not None
    assert (found.verb, found.target.resource.plural, *found.target[1:]) == expected


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/a/pods//status", "/api/v1/namespaces/a//b", "/api/v1//pods"]
)
def test_a_path_with_an_empty_segment_is_none(path: str) -> None:
    """A DELETE of pods//status must not be one of all pods."""
    with pytest.raises(errors.StatusError) as raised:
        parse("DELETE", path)
    assert raised.value.code == 404


def test_the_first_of_repeated_parameters_counts() -> None:
    assert requestinfo.query("dryRun=All&dryRun=&a=") == {"dryRun": "All", "a": ""}


@pytest.mark.parametrize("value", ["1", "true", "True", ""])
def test_watch_is_a_parameter_too(value: str) -> None:
    found = parse("GET", "/api/v1/pods", f"watch={value}")
    assert found is not None
    assert found.verb == "watch"


PODS = "/api/v1/namespaces/a/pods"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{PODS}/b/proxy", (f"{PODS}/b/proxy", "")),
        (f"{PODS}/http:b:80/proxy/", (f"{PODS}/http:b:80/proxy", "/")),
        (f"{PODS}/b/proxy/x%2Fy//../z", (f"{PODS}/b/proxy", "/x%2Fy//../z")),
        (f"{PODS}/b/proxy/\n/proxy/", (f"{PODS}/b/proxy", "/\n/proxy/")),
        (f"{PODS}/proxy/status", (f"{PODS}/proxy/status", None)),
        (f"{PODS}/b/proxyx/y", (f"{PODS}/b/proxyx/y", None)),
        ("/api/v1/nodes/n/proxy/metrics", ("/api/v1/nodes/n/proxy/metrics", None)),
    ],
)
def test_what_comes_behind_a_proxy_is_left_alone(
    path: str, expected: tuple[str, str | None]
) -> None:
    assert requestinfo.proxied(path) == expected


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("GET", "get"),
        ("HEAD", "get"),
        ("POST", "create"),
        ("PUT", "update"),
        ("PATCH", "patch"),
        ("DELETE", "delete"),
        ("OPTIONS", "options"),
    ],
)
def test_a_proxy_has_a_verb_for_each_method_whatever_the_query(method: str, verb: str) -> None:
    found = parse(method, f"{PODS}/http:b:80/proxy", "watch=true")
    assert found is not None
    assert (found.verb, found.target.name) == (verb, "http:b:80")


@pytest.mark.parametrize(
    ("method", "path"), [("TRACE", f"{PODS}/b/proxy"), ("OPTIONS", f"{PODS}/b/status")]
)
def test_other_methods_are_refused(method: str, path: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        parse(method, path)
    assert raised.value.code == 405


def test_nodes_have_no_proxy() -> None:
    nodes, pods = (CATALOGUE.require(SCHEME.require("", "v1", name)) for name in ("nodes", "pods"))
    assert "proxy" not in nodes.subresources
    assert pods.subresources["proxy"].verbs == ["create", "delete", "get", "patch", "update"]


@pytest.mark.parametrize("value", ["0", "false"])
def test_watch_can_be_off(value: str) -> None:
    found = parse("GET", "/api/v1/pods", f"watch={value}")
    assert found is not None
    assert found.verb == "list"


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz"]
)
def test_paths_that_are_no_resources(path: str) -> None:
    assert parse("GET", path) is None


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nothing",
        "/api/v2/pods",
        "/apis/apps/v1beta1/deployments",
        "/api/v1/pods/b",
        "/api/v1/namespaces/a/nodes/n",
        "/api/v1/namespaces/a/pods/b/status/more",
    ],
)
def test_unknown_paths(path: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        parse("GET", path)
    assert raised.value.code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/a/pods/..",
        "/api/v1/namespaces/./pods/b",
        "/api/v1/namespaces/a/pods/%2e%2e",
        "/api/v1/namespaces/a/pods/%2E%2e/secrets",
        "/api/v1/namespaces/a/pods/%2e",
        "/api/v1/namespaces/a%2fsecrets/pods/b",
        "/api/v1/namespaces/a/pods/b%2Fstatus",
        "/api/v1/namespaces/a/pods/b%00",
    ],
)
def test_no_quoting_leads_elsewhere(path: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        parse("GET", path)
    assert raised.value.code == 400


def test_what_is_quoted_twice_is_unquoted_once() -> None:
    found = parse("GET", "/api/v1/namespaces/a/pods/%252e%252e")
    assert found is not None
    assert found.target.name == "%2e%2e"


def test_other_methods() -> None:
    with pytest.raises(errors.StatusError) as raised:
        parse("TRACE", "/api/v1/pods")
    assert raised.value.code == 405


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", mediatypes.JSON),
        ("*/*", mediatypes.JSON),
        ("application/json", mediatypes.JSON),
        ("application/yaml", mediatypes.YAML),
        ("text/html, application/yaml;q=0.5", mediatypes.YAML),
        ("APPLICATION/JSON", mediatypes.JSON),
        ("application/vnd.kubernetes.protobuf,application/json", mediatypes.PROTOBUF),
    ],
)
def test_media_types(header: str, expected: str) -> None:
    assert negotiate.accepted(header) == (expected, "", "", "")


def test_kubectl_gets_its_table() -> None:
    header = (
        "application/json;as=Table;v=v1;g=meta.k8s.io,"
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    )
    expected = (mediatypes.JSON, "Table", "meta.k8s.io", "v1")
    assert negotiate.accepted(header, ("Table",)) == expected
    assert negotiate.accepted(header) == (mediatypes.JSON, "", "", "")


@pytest.mark.parametrize("header", ["text/html", "application/json;as=Table;v=v9;g=meta.k8s.io"])
def test_nothing_acceptable(header: str) -> None:
    with pytest.raises(errors.StatusError) as raised:
        negotiate.accepted(header, ("Table",))
    assert raised.value.code == 406


def resources(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in document["resources"]}


def test_discovery_of_the_core_group() -> None:
    document = discovery.api_resource_list(CATALOGUE, "", "v1")
    assert document is not None
    found = resources(document)
    assert found["pods"]["shortNames"] == ["po"]
    assert found["pods"]["categories"] == ["all"]
    assert found["pods/status"]["verbs"] == ["get", "patch", "update"]
    assert found["nodes"]["namespaced"] is False
    assert found["replicationcontrollers/scale"]["group"] == "autoscaling"


def test_both_forms_of_discovery_agree() -> None:
    for core in (True, False):
        for group in discovery.aggregated(CATALOGUE, core=core, version="v2")["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                legacy = discovery.api_resource_list(CATALOGUE, name, version["version"])
                assert legacy is not None
                plain = [entry for entry in legacy["resources"] if "/" not in entry["name"]]
                assert [(e["name"], e["kind"], e["verbs"]) for e in plain] == [
                    (r["resource"], r["responseKind"]["kind"], r["verbs"])
                    for r in version["resources"]
                ]


def test_groups_and_their_absence() -> None:
    names = [group["name"] for group in discovery.api_group_list(SCHEME)["groups"]]
    assert names[:2] == ["apps", "events.k8s.io"]
    assert discovery.api_group(SCHEME, "none") is None
    assert discovery.api_group(SCHEME, "") is None
    assert discovery.api_resource_list(CATALOGUE, "apps", "v9") is None
