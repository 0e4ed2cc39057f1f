"""OpenAPI v2: what Kubernetes 1.36 says of the same kinds, and its protobuf form.

Expected names and schemas are those of api/openapi-spec/swagger.json in Kubernetes' source; the
bytes were made with gnostic's own OpenAPIv2.proto.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from common.runtime.offload import Offload
from master.apiserver.registry.heavy import Heavy
from master.apiserver.rest.openapi import gnostic
from master.apiserver.rest.openapi.documents import OpenAPI
from master.apiserver.rest.paths import Paths
from protos import openapi_v2_pb2 as v2
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock
from tests.unit.apiserver.rest.test_openapi import references

CATALOGUE = fakes.whole(FakeClock()).catalogue
OPENAPI = OpenAPI(CATALOGUE)
DOCUMENT: Any = json.loads(OPENAPI.version_2())
DEFINITIONS: Any = DOCUMENT["definitions"]
CORE, META = "io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1"
PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
SMALL: Any = {
    "swagger": "2.0",
    "info": {"title": "Wherry", "version": "v1"},
    "paths": {
        "/api/v1/nodes/{name}": {
            "parameters": [
                {
                    "name": "name",
                    "in": "path",
                    "required": True,
                    "type": "string",
                    "uniqueItems": True,
                }
            ],
            "patch": {
                "tags": ["core_v1"],
                "description": "patch",
                "operationId": "patchCoreV1Node",
                "produces": ["application/json"],
                "consumes": ["*/*"],
                "schemes": ["https"],
                "parameters": [
                    {
                        "in": "body",
                        "name": "body",
                        "required": True,
                        "schema": {"$ref": f"#/definitions/{CORE}.Node"},
                    },
                    {"in": "query", "name": "dryRun", "type": "string", "uniqueItems": True},
                ],
                "responses": {
                    "200": {
                        "description": "OK",
                        "schema": {"$ref": f"#/definitions/{CORE}.Node"},
                    },
                    "401": {"description": "Unauthorized"},
                },
                "x-kubernetes-action": "patch",
            },
        }
    },
    "definitions": {
        f"{CORE}.Node": {
            "description": "A machine.",
            "type": "object",
            "required": ["spec"],
            "properties": {
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "spec": {"$ref": "#/definitions/Spec"},
                "taints": {
                    "type": "array",
                    "items": {"type": "string", "format": "byte", "enum": ["a"]},
                    "x-kubernetes-patch-strategy": "merge",
                },
            },
            "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Node"}],
        }
    },
    "securityDefinitions": {
        "BearerToken": {
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
            "description": "Bearer",
        }
    },
    "security": [{"BearerToken": []}],
}
SMALL_BYTES = base64.b64decode(
    """
CgMyLjASDAoGV2hlcnJ5EgJ2MULUAhLRAgoUL2FwaS92MS9ub2Rlcy97bmFtZX0SuAJClAIKB2NvcmVfdjEaBXBhdG
NoKg9wYXRjaENvcmVWMU5vZGUyEGFwcGxpY2F0aW9uL2pzb246AyovKkI7CjkKNxIEYm9keRoEYm9keSABKicKJSMv
ZGVmaW5pdGlvbnMvaW8uazhzLmFwaS5jb3JlLnYxLk5vZGVCIAoeEhwaGhIFcXVlcnkiBmRyeVJ1bjIGc3RyaW5noA
EBSlMKOAoDMjAwEjEKLwoCT0sSKQonCiUjL2RlZmluaXRpb25zL2lvLms4cy5hcGkuY29yZS52MS5Ob2RlChcKAzQw
MRIQCg4KDFVuYXV0aG9yaXplZFIFaHR0cHNqHwoTeC1rdWJlcm5ldGVzLWFjdGlvbhIIEgZwYXRjaApKHwodEhsiGQ
gBEgRwYXRoIgRuYW1lKgZzdHJpbmeYAQFKsgIKrwIKF2lvLms4cy5hcGkuY29yZS52MS5Ob2RlEpMCIgpBIG1hY2hp
bmUumgEEc3BlY7IBCAoGb2JqZWN0ygGiAQolCgZsYWJlbHMSG6oBDQoLsgEICgZzdHJpbmeyAQgKBm9iamVjdAocCg
RzcGVjEhQKEiMvZGVmaW5pdGlvbnMvU3BlYwpbCgZ0YWludHMSUbIBBwoFYXJyYXm6ARoKGBIEYnl0ZaIBBBICYQqy
AQgKBnN0cmluZ/oBJwobeC1rdWJlcm5ldGVzLXBhdGNoLXN0cmF0ZWd5EggSBm1lcmdlCvoBTAofeC1rdWJlcm5ldG
VzLWdyb3VwLXZlcnNpb24ta2luZBIpEictIGdyb3VwOiAnJwogIHZlcnNpb246IHYxCiAga2luZDogTm9kZQpiEQoP
CgtCZWFyZXJUb2tlbhIAajoKOAoLQmVhcmVyVG9rZW4SKRInCgZhcGlLZXkSDWF1dGhvcml6YXRpb24aBmhlYWRlci
IGQmVhcmVy
"""
)


def test_the_document_is_whole() -> None:
    """References lead somewhere, operations differ, what only v3 has is not there."""
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/definitions/") in DEFINITIONS
    operations = [
        operation
        for item in DOCUMENT["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids)) > 100
    for word in ("oneOf", "allOf", "requestBody", "content", "/components/"):
        assert f'"{word}"' not in OPENAPI.version_2().decode()


def test_reviews_are_validated_by_kubectl() -> None:
    """Where v2 says that the server validates Namespaces, kubectl wants a list of definitions of
    custom resources before it creates what cannot be patched."""
    patch = DOCUMENT["paths"]["/api/v1/namespaces/{name}"]["patch"]
    names = [parameter["name"] for parameter in patch["parameters"]]
    assert "dryRun" in names
    assert "fieldValidation" not in names


def undescribed(plain: Any) -> Any:
    """Without descriptions, which are our own."""
    if isinstance(plain, dict):
        return {k: undescribed(v) for k, v in plain.items() if k != "description"}
    if isinstance(plain, list):
        return [undescribed(value) for value in plain]
    return plain


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"type": "string"}),
        (
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            {"type": "string", "format": "int-or-string"},
        ),
        (f"{META}.Time", {"type": "string", "format": "date-time"}),
        (f"{META}.MicroTime", {"type": "string", "format": "date-time"}),
        (f"{META}.FieldsV1", {"type": "object"}),
        (f"{META}.Patch", {"type": "object"}),
        ("io.k8s.apimachinery.pkg.runtime.RawExtension", {"type": "object"}),
        (
            f"{CORE}.ConfigMap",
            {
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"},
                    "binaryData": {
                        "type": "object",
                        "additionalProperties": {"type": "string", "format": "byte"},
                    },
                    "data": {"type": "object", "additionalProperties": {"type": "string"}},
                    "immutable": {"type": "boolean"},
                    "kind": {"type": "string"},
                    "metadata": {"$ref": f"#/definitions/{META}.ObjectMeta"},
                },
                "x-kubernetes-group-version-kind": [
                    {"group": "", "kind": "ConfigMap", "version": "v1"}
                ],
            },
        ),
        (
            f"{CORE}.LocalObjectReference",
            {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "x-kubernetes-map-type": "atomic",
            },
        ),
    ],
)
def test_definitions_are_those_of_kubernetes(name: str, expected: Any) -> None:
    assert undescribed(DEFINITIONS[name]) == expected
    assert DEFINITIONS[name]["description"]


def test_members_say_how_patches_merge_them() -> None:
    assert undescribed(DEFINITIONS[f"{CORE}.PodSpec"]["properties"]["containers"]) == {
        "items": {"$ref": f"#/definitions/{CORE}.Container"},
        "type": "array",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-list-type": "map",
        "x-kubernetes-patch-merge-key": "name",
        "x-kubernetes-patch-strategy": "merge",
    }
    assert DEFINITIONS[f"{CORE}.PodSpec"]["required"] == ["containers"]


POD = "/api/v1/namespaces/{namespace}/pods/{name}"
BASE = "/apis/apps/v1/namespaces/{namespace}/deployments"


@pytest.mark.parametrize(
    ("path", "method", "name", "action"),
    [
        (BASE, "get", "listAppsV1NamespacedDeployment", "list"),
        (BASE, "post", "createAppsV1NamespacedDeployment", "post"),
        (BASE, "delete", "deleteAppsV1CollectionNamespacedDeployment", "deletecollection"),
        (f"{BASE}/{{name}}", "get", "readAppsV1NamespacedDeployment", "get"),
        (f"{BASE}/{{name}}", "put", "replaceAppsV1NamespacedDeployment", "put"),
        (f"{BASE}/{{name}}", "patch", "patchAppsV1NamespacedDeployment", "patch"),
        (f"{BASE}/{{name}}", "delete", "deleteAppsV1NamespacedDeployment", "delete"),
        (f"{BASE}/{{name}}/status", "get", "readAppsV1NamespacedDeploymentStatus", "get"),
        (f"{BASE}/{{name}}/scale", "put", "replaceAppsV1NamespacedDeploymentScale", "put"),
        ("/apis/apps/v1/deployments", "get", "listAppsV1DeploymentForAllNamespaces", "list"),
        ("/api/v1/nodes/{name}", "patch", "patchCoreV1Node", "patch"),
        ("/api/v1/namespaces/{name}/finalize", "put", "replaceCoreV1NamespaceFinalize", "put"),
        (f"{POD}/log", "get", "readCoreV1NamespacedPodLog", "get"),
        (f"{POD}/binding", "post", "createCoreV1NamespacedPodBinding", "post"),
        (f"{POD}/exec", "get", "connectCoreV1GetNamespacedPodExec", "connect"),
        (f"{POD}/exec", "post", "connectCoreV1PostNamespacedPodExec", "connect"),
        (f"{POD}/portforward", "post", "connectCoreV1PostNamespacedPodPortforward", "connect"),
        (f"{POD}/proxy", "head", "connectCoreV1HeadNamespacedPodProxy", "connect"),
        (
            "/api/v1/namespaces/{namespace}/services/{name}/proxy/{path}",
            "options",
            "connectCoreV1OptionsNamespacedServiceProxyWithPath",
            "connect",
        ),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            "get",
            "listCertificatesV1CertificateSigningRequest",
            "list",
        ),
    ],
)
def test_operations_have_the_names_of_kubernetes(
    path: str, method: str, name: str, action: str
) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert operation["operationId"] == name
    assert operation["x-kubernetes-action"] == action
    assert operation["schemes"] == ["https"]


@pytest.mark.parametrize(
    ("path", "method", "description", "group", "kind"),
    [
        (f"{BASE}/{{name}}", "get", "read the specified Deployment", "apps", "Deployment"),
        (f"{BASE}/{{name}}", "delete", "delete a Deployment", "apps", "Deployment"),
        (
            f"{BASE}/{{name}}/scale",
            "patch",
            "partially update scale of the specified Deployment",
            "autoscaling",
            "Scale",
        ),
        (f"{POD}/log", "get", "read log of the specified Pod", "", "Pod"),
        (f"{POD}/binding", "post", "create binding of a Pod", "", "Binding"),
        (f"{POD}/exec", "get", "connect GET requests to exec of Pod", "", "PodExecOptions"),
        (
            "/api/v1/namespaces/{namespace}/endpoints/{name}",
            "delete",
            "delete Endpoints",
            "",
            "Endpoints",
        ),
        (
            "/apis/apps/v1/deployments",
            "get",
            "list or watch objects of kind Deployment",
            "apps",
            "Deployment",
        ),
    ],
)
def test_operations_say_what_they_do_and_to_which_kind(
    path: str, method: str, description: str, group: str, kind: str
) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert operation["description"] == description
    expected = {"group": group, "version": "v1", "kind": kind}
    assert operation["x-kubernetes-group-version-kind"] == expected


def test_a_log_is_text() -> None:
    operation = DOCUMENT["paths"][f"{POD}/log"]["get"]
    assert operation["produces"] == ["text/plain"]
    assert operation["responses"]["200"] == {"description": "OK", "schema": {"type": "string"}}
    assert "tailLines" in [parameter["name"] for parameter in operation["parameters"]]


def test_an_operation_is_that_of_kubernetes() -> None:
    patch = DOCUMENT["paths"][f"{BASE}/{{name}}"]["patch"]
    assert patch["tags"] == ["apps_v1"]
    assert patch["description"] == "partially update the specified Deployment"
    assert patch["parameters"][0] == {
        "in": "body",
        "name": "body",
        "required": True,
        "schema": {"$ref": f"#/definitions/{META}.Patch"},
    }
    assert {"in": "query", "name": "dryRun", "type": "string", "uniqueItems": True} in patch[
        "parameters"
    ]
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    assert patch["responses"]["200"] == {
        "description": "OK",
        "schema": {"$ref": "#/definitions/io.k8s.api.apps.v1.Deployment"},
    }
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "kind": "Deployment",
        "version": "v1",
    }


def test_protobuf_is_what_gnostic_writes() -> None:
    assert gnostic.document(SMALL) == SMALL_BYTES


def test_protobuf_has_all_of_it() -> None:
    made = v2.Document.FromString(OPENAPI.version_2_gnostic())
    assert [one.name for one in made.paths.path] == list(DOCUMENT["paths"])
    schemas = {one.name: one.value for one in made.definitions.additionalProperties}
    assert list(schemas) == list(DEFINITIONS)
    spec = {
        one.name: one.value for one in schemas[f"{CORE}.PodSpec"].properties.additionalProperties
    }
    assert list(spec) == list(DEFINITIONS[f"{CORE}.PodSpec"]["properties"])
    extensions = {one.name: one.value.yaml for one in spec["containers"].vendorExtension}
    assert extensions["x-kubernetes-list-map-keys"] == "- name\n"


NOBODY: Any = None


@pytest.fixture
def paths() -> Iterator[Paths]:
    offload = Offload(threads=1)
    yield Paths(
        catalogue=CATALOGUE,
        ca_pem=lambda: b"",
        rotation=NOBODY,
        ports={},
        address="127.0.0.1:6443",
        version="0",
        checks={},
        degraded=dict,
        heavy=Heavy(offload),
        keys=NOBODY,
    )
    offload.close()


async def asked(paths: Paths, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("GET", "/openapi/v2", headers=named)
    return await paths.answer(request, ["openapi", "v2"])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        (PROTOBUF, PROTOBUF.replace("@", ".")),
        (PROTOBUF.replace("@", "."), PROTOBUF.replace("@", ".")),
        (f"{PROTOBUF}, application/json", PROTOBUF.replace("@", ".")),
    ],
)
async def test_the_form_that_is_accepted(paths: Paths, accept: str, content_type: str) -> None:
    response = await asked(paths, Accept=accept)
    assert response.status == 200
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Vary"] == "Accept"
    assert response.body == (
        OPENAPI.version_2() if content_type.endswith("json") else OPENAPI.version_2_gnostic()
    )


async def test_what_a_client_has_already_is_not_sent_again(paths: Paths) -> None:
    tag = (await asked(paths, Accept="application/json")).headers["ETag"]
    again = await asked(paths, Accept="application/json", If_None_Match=tag)
    assert (again.status, again.body) == (304, None)
    other = await asked(paths, Accept="application/json", If_None_Match='"other"')
    assert other.status == 200


async def test_another_form_is_not_acceptable(paths: Paths) -> None:
    assert (await asked(paths, Accept="text/html")).status == 406
