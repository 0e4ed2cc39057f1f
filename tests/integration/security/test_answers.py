"""Whole stories of single kinds, told to a running master as clients tell them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from common.security.csr import make_key, make_request
from protos import openapi_v2_pb2 as v2
from tests.servers.master import RunningMaster

SPACE = "/api/v1/namespaces/default"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"schedulerName": "none", "containers": [{"name": "c", "image": "i"}]},
}


def send(
    master: RunningMaster, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, bytes]:
    """A request of the administrator with headers of its own."""
    admin = master.client_ca().issue_client("admin", organizations=("system:masters",))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", master.port, context=master.context(admin), timeout=10
    )
    data = None if body is None else json.dumps(body).encode()
    connection.request(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def patch(master: RunningMaster, path: str, change: Any, kind: str = "merge") -> Any:
    media_type = f"application/{kind}-patch+json"
    status, answer = send(master, "PATCH", path, change, Content_Type=media_type)
    assert status == 200, answer
    return json.loads(answer)


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Ask again and again, for at most half a minute unless told otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("count", [3, 80])
def test_deletecollection_answers_a_list_in_every_form(master: RunningMaster, count: int) -> None:
    """A small one is sent whole, a large one as it is rendered."""
    maps = f"{SPACE}/configmaps"
    for form, kind in (("application/json", "ConfigMapList"), (TABLE, "Table")):
        for number in range(count):
            labels = {"labels": {"gone": "together"}}
            made = {"metadata": {"name": f"g{number:02}", **labels}, "data": {"k": "v" * 4000}}
            assert send(master, "POST", maps, made)[0] == 201
        path = f"{maps}?labelSelector=gone%3Dtogether"
        status, answer = send(master, "DELETE", path, Accept=form)
        assert status == 200, answer
        found = json.loads(answer)
        assert found["kind"] == kind
        assert found["metadata"]["resourceVersion"]
        items = found["items"] if kind != "Table" else [row["object"] for row in found["rows"]]
        assert [item["metadata"]["name"] for item in items] == [f"g{n:02}" for n in range(count)]
        assert json.loads(send(master, "GET", path)[1])["items"] == []


def test_an_event_is_fetched_patched_deleted_and_listed(master: RunningMaster) -> None:
    admin, group = master.admin(), "/apis/events.k8s.io/v1"
    events = f"{group}/namespaces/default/events"
    made = {
        "metadata": {"name": "e", "labels": {"set": "true"}},
        "regarding": {"namespace": "default", "kind": "Pod", "name": "p"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "action": "Do",
        "reason": "Test",
        "note": "This is e",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
    }
    created = admin.json("POST", events, made)
    for path in (
        f"{group}/events",
        events,
        f"{SPACE}/events?fieldSelector=source%3Dtest-controller",
        f"{events}?fieldSelector=reportingController%3Dtest-controller,regarding.kind%3DPod",
    ):
        names = [item["metadata"]["name"] for item in admin.json("GET", path)["items"]]
        assert names.count("e") == 1, path
    status, answer = admin.request("GET", f"{events}?fieldSelector=source%3Dx")
    assert (status, b"field label not supported: source" in answer) == (400, True)
    series = {"count": 2, "lastObservedTime": "2017-09-19T13:49:11.000000Z"}
    patch(master, f"{events}/e", {"series": series}, "strategic-merge")
    found = admin.json("GET", f"{events}/e")
    expected = {**created, "series": series}
    expected["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    assert found == expected
    found["series"]["count"] = 100
    assert admin.json("PUT", f"{events}/e", found)["series"]["count"] == 100
    assert admin.json("DELETE", f"{events}?labelSelector=set%3Dtrue")["items"] != []
    assert admin.request("GET", f"{events}/e")[0] == 404


def test_a_signing_request_is_patched_and_approved(master: RunningMaster) -> None:
    admin = master.admin()
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": base64.b64encode(make_request(make_key(), "jane")).decode(),
        "signerName": "example.com/e2e",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    admin.json("POST", path, {"metadata": {"name": "r"}, "spec": spec})
    notes = {"metadata": {"annotations": {"patched": "true"}}}
    assert patch(master, f"{path}/r", notes)["metadata"]["annotations"] == {"patched": "true"}
    for sub in ("approval", "status"):
        change = {
            "metadata": {"annotations": {sub: "true"}},
            "status": {"conditions": [{"type": f"{sub}Patch", "status": "True"}]},
        }
        found = patch(master, f"{path}/r/{sub}", change)
        assert found["metadata"]["annotations"][sub] == "true"
        assert found["status"]["conditions"][0]["lastUpdateTime"]
    found = admin.json("GET", f"{path}/r/approval")
    found["status"]["conditions"].append({"type": "Approved", "status": "True"})
    assert admin.json("PUT", f"{path}/r/approval", found)["status"]["conditions"][-1][
        "lastUpdateTime"
    ]
    assert admin.request("PUT", f"{path}/r/approval", json.dumps(found).encode())[0] == 409
    assert admin.request("DELETE", f"{path}/r")[0] == 200


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            "persistentvolumes",
            {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "2Gi"},
                "csi": {"driver": "d.example.com", "volumeHandle": "h"},
            },
        ),
        (
            "persistentvolumeclaims",
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        ),
    ],
)
def test_a_status_of_storage_is_changed_and_it_goes(
    master: RunningMaster, kind: str, spec: dict[str, Any]
) -> None:
    admin, base = master.admin(), "/api/v1" if kind == "persistentvolumes" else SPACE
    path = f"{base}/{kind}"
    admin.json("POST", path, {"metadata": {"name": "s"}, "spec": spec})
    assert admin.json("GET", f"{path}/s/status")["status"]["phase"] == "Pending"
    if kind == "persistentvolumes":
        change: dict[str, Any] = {"message": "StatusPatched", "reason": "E2E"}
    else:
        change = {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E"}]}
    found = patch(master, f"{path}/s/status", {"status": change})
    assert change.items() <= found["status"].items() or found["status"]["conditions"]
    found["spec"] = {}
    assert admin.json("PUT", f"{path}/s/status", found)["spec"] != {}
    admin.request("DELETE", f"{path}/s")
    until(lambda: admin.request("GET", f"{path}/s")[0] == 404)


def test_pods_of_a_replication_controller_stay_without_it(master: RunningMaster) -> None:
    admin, path = master.admin(), f"{SPACE}/replicationcontrollers"
    spec = {"replicas": 2, "selector": {"a": "b"}, "template": TEMPLATE}
    admin.json("POST", path, {"metadata": {"name": "rc"}, "spec": spec})
    pods = f"{SPACE}/pods?labelSelector=a%3Db"
    until(lambda: len(admin.json("GET", pods)["items"]) == 2)
    assert admin.request("DELETE", f"{path}/rc")[0] == 200
    until(lambda: admin.request("GET", f"{path}/rc")[0] == 404)
    left = admin.json("GET", pods)["items"]
    assert [pod["metadata"].get("ownerReferences", []) for pod in left] == [[], []]
    for pod in left:
        admin.request("DELETE", f"{SPACE}/pods/{pod['metadata']['name']}")


def test_generations_count_changes_by_users(master: RunningMaster) -> None:
    admin, path = master.admin(), "/apis/apps/v1/namespaces/default/deployments"
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
    admin.json("POST", path, {"metadata": {"name": "d"}, "spec": spec})

    def told(revision: str) -> bool:
        found = admin.json("GET", f"{path}/d")
        notes = found["metadata"].get("annotations", {})
        seen = found["status"].get("observedGeneration")
        done = notes.get("deployment.kubernetes.io/revision") == revision
        return done and seen == found["metadata"]["generation"]

    until(lambda: told("1"))
    assert admin.json("GET", f"{path}/d")["metadata"]["generation"] == 1
    env = [{"name": "A", "value": "1"}]
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}}
    patch(master, f"{path}/d", change, "strategic-merge")
    until(lambda: told("2"))
    assert admin.json("GET", f"{path}/d")["metadata"]["generation"] == 2
    status, answer = send(master, "GET", f"{path}/d/scale", Accept=TABLE)
    shown = json.loads(answer)
    names = [column["name"] for column in shown["columnDefinitions"]]
    assert (status, names) == (200, ["Name", "Desired", "Available", "Age"])
    assert shown["rows"][0]["cells"][:3] == ["d", 0, 0]
    admin.request("DELETE", f"{path}/d")


def test_a_pod_without_a_node_has_an_empty_log(master: RunningMaster) -> None:
    admin, pods = master.admin(), f"{SPACE}/pods"
    admin.json("POST", pods, {"metadata": {"name": "p"}, "spec": TEMPLATE["spec"]})
    assert admin.request("GET", f"{pods}/p/log") == (204, b"")
    assert admin.request("GET", f"{pods}/p/log?container=x")[0] == 400
    binding = {"metadata": {"name": "p"}, "target": {"name": "n"}}
    assert send(master, "POST", f"{pods}/p/binding", binding, Accept=TABLE)[0] == 406
    admin.request("DELETE", f"{pods}/p")


def test_pods_of_a_namespace_go_first(master: RunningMaster) -> None:
    admin = master.admin()
    admin.json("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})
    base = "/api/v1/namespaces/going"
    until(lambda: admin.request("GET", f"{base}/serviceaccounts/default")[0] == 200)
    pod = {"metadata": {"name": "p", "finalizers": ["e2e.example.com/f"]}, "spec": TEMPLATE["spec"]}
    admin.json("POST", f"{base}/pods", pod)
    admin.json("POST", f"{base}/configmaps", {"metadata": {"name": "c"}})
    admin.request("DELETE", base)

    def waits() -> bool:
        found = admin.json("GET", base)["status"].get("conditions", [])
        return ("NamespaceDeletionContentFailure", "True") in [
            (c["type"], c["status"]) for c in found
        ]

    until(waits)
    assert admin.request("GET", f"{base}/configmaps/c")[0] == 200
    patch(master, f"{base}/pods/p", {"metadata": {"finalizers": None}})
    until(lambda: admin.request("GET", base)[0] == 404)


@pytest.mark.parametrize(
    ("collection", "spec", "answered"),
    [
        ("podtemplates", {"template": TEMPLATE}, "PodTemplate"),
        ("serviceaccounts", {}, "ServiceAccount"),
        ("services", {"spec": {"ports": [{"port": 80}]}}, "Service"),
        ("resourcequotas", {"spec": {}}, "ResourceQuota"),
        ("configmaps", {}, "Status"),
        ("secrets", {}, "Status"),
    ],
)
def test_a_deletion_answers_what_kubernetes_answers(
    master: RunningMaster, collection: str, spec: Any, answered: str
) -> None:
    """ReturnDeletedObject of upstream's registries: these kinds' own object, of others a Status."""
    admin, objects = master.admin(), f"{SPACE}/{collection}"
    uid = admin.json("POST", objects, {"metadata": {"name": "gone"}, **spec})["metadata"]["uid"]
    answer = admin.json("DELETE", f"{objects}/gone")
    assert answer["kind"] == answered
    assert (answer["details"] if answered == "Status" else answer["metadata"])["uid"] == uid


def test_openapi_v2_comes_in_both_forms_and_once(master: RunningMaster) -> None:
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    status, body = send(master, "GET", "/openapi/v2", Accept=protobuf)
    assert status == 200
    assert len(v2.Document.FromString(body).definitions.additionalProperties) > 200
    status, body = send(master, "GET", "/openapi/v2")
    assert status == 200
    assert json.loads(body)["swagger"] == "2.0"
    tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    assert send(master, "GET", "/openapi/v2", If_None_Match=tag) == (304, b"")
