"""OpenAPI v3 documents: whole in themselves, and with what clients look for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from common.api.scheme import SCHEME
from master.apiserver.rest.openapi.documents import OpenAPI
from master.apiserver.rest.openapi.operations import path_of
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock

CATALOGUE = fakes.whole(FakeClock()).catalogue
OPENAPI = OpenAPI(CATALOGUE)
NAMES = sorted({path_of(resource) for resource in SCHEME.resources()})
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


def document(name: str) -> Any:
    return json.loads(OPENAPI.document(name) or b"")


def references(plain: Any) -> Iterator[str]:
    """Every $ref of a document."""
    if isinstance(plain, dict):
        if isinstance(plain.get("$ref"), str):
            yield plain["$ref"]
        for value in plain.values():
            yield from references(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from references(value)


def operations(plain: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in plain["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


@pytest.mark.parametrize("name", NAMES)
def test_documents_are_whole(name: str) -> None:
    """References lead somewhere, places in paths are parameters, operations differ."""
    plain = document(name)
    for reference in references(plain):
        assert reference.removeprefix("#/components/schemas/") in plain["components"]["schemas"]
    ids = [operation["operationId"] for _, _, operation in operations(plain)]
    assert len(ids) == len(set(ids))
    for path, item in plain["paths"].items():
        given = [p["name"] for p in item.get("parameters", []) if p["in"] == "path"]
        assert given == re.findall(r"\{(\w+)\}", path), path
    for _, method, operation in operations(plain):
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert len(names) == len(set(names))
        assert operation["responses"]
        connects = operation["x-kubernetes-action"] == "connect"
        assert connects or method in ("get", "delete") or operation["requestBody"]["content"]


def test_paths_of_a_resource() -> None:
    paths = document("apis/apps/v1")["paths"]
    base = "/apis/apps/v1/namespaces/{namespace}/deployments"
    assert sorted(paths[base]) == ["delete", "get", "parameters", "post"]
    assert sorted(paths[f"{base}/{{name}}"]) == ["delete", "get", "parameters", "patch", "put"]
    assert sorted(paths[f"{base}/{{name}}/status"]) == ["get", "parameters", "patch", "put"]
    scale = paths[f"{base}/{{name}}/scale"]["get"]["responses"]["200"]
    assert scale["content"]["application/json"]["schema"]["$ref"].endswith(".Scale")
    everywhere = paths["/apis/apps/v1/deployments"]["get"]
    answer = everywhere["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["$ref"].endswith(".DeploymentList")
    assert "/api/v1/nodes" in document("api/v1")["paths"]


def test_what_kubectl_asks_for() -> None:
    """Whether validation can be left to the server: fieldValidation of a patch."""
    paths = document("api/v1")["paths"]
    patch = paths["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert patch["x-kubernetes-group-version-kind"] == kind
    assert patch["x-kubernetes-action"] == "patch"


def test_types_that_explain_names() -> None:
    schemas = document("apis/apps/v1")["components"]["schemas"]
    limits = schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]
    assert limits["additionalProperties"]["$ref"].endswith(QUANTITY)
    surge = schemas["io.k8s.api.apps.v1.RollingUpdateDeployment"]["properties"]["maxSurge"]
    assert surge["allOf"][0]["$ref"].endswith(INT_OR_STRING)
    assert schemas[QUANTITY]["description"]
    claim = schemas["io.k8s.api.core.v1.PersistentVolumeClaim"]
    assert claim["properties"]["kind"]["description"]
    assert claim["x-kubernetes-group-version-kind"] == [
        {"group": "", "version": "v1", "kind": "PersistentVolumeClaim"}
    ]


@pytest.mark.parametrize(
    ("name", "member", "expected"),
    [
        ("PodSpec", "restartPolicy", ["Always", "Never", "OnFailure"]),
        ("ServiceSpec", "type", ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
        ("Toleration", "operator", ["Equal", "Exists", "Gt", "Lt"]),
        ("ContainerPort", "protocol", ["SCTP", "TCP", "UDP"]),
        ("Secret", "type", None),
    ],
)
def test_what_a_text_may_be(name: str, member: str, expected: list[str] | None) -> None:
    """As Kubernetes' pkg/generated/openapi has it."""
    schemas = document("api/v1")["components"]["schemas"]
    assert schemas[f"io.k8s.api.core.v1.{name}"]["properties"][member].get("enum") == expected


def test_what_the_items_of_a_list_may_be() -> None:
    schemas = document("api/v1")["components"]["schemas"]
    modes = schemas["io.k8s.api.core.v1.PersistentVolumeSpec"]["properties"]["accessModes"]
    assert modes["items"]["enum"] == [
        "ReadOnlyMany",
        "ReadWriteMany",
        "ReadWriteOnce",
        "ReadWriteOncePod",
    ]
    assert "enum" not in modes


def test_members_of_an_inlined_message_are_as_complete() -> None:
    schemas = document("api/v1")["components"]["schemas"]
    container = schemas["io.k8s.api.core.v1.EphemeralContainer"]
    assert container["required"] == ["name"]
    assert container["properties"]["env"]["x-kubernetes-list-map-keys"] == ["name"]
