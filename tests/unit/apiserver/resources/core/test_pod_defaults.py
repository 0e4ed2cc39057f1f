"""Defaults of pods, and what their deletion and updates do."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from master.apiserver.resources.core.pod.poddefaults import pull_policy
from tests.unit.apiserver.conftest import STRATEGIES, Writer


def pod(**spec: Any) -> dict[str, Any]:
    """A pod of one container; `spec` adds or replaces members."""
    containers = [{"name": "web", "image": "nginx"}]
    return {"metadata": {"name": "a"}, "spec": {"containers": containers, **spec}}


def container(**members: Any) -> dict[str, Any]:
    """A pod whose one container has more members."""
    return pod(containers=[{"name": "web", "image": "nginx", **members}])


def plain(obj: Any) -> dict[str, Any]:
    return codec.decode_plain(codec.encode(obj))


def test_a_pod_gets_every_default(writer: Writer) -> None:
    made = plain(writer.create("pods", pod()))
    assert made["spec"] == {
        "containers": [
            {
                "name": "web",
                "image": "nginx",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["metadata"]["generation"] == 1


def test_defaults_are_stable(writer: Writer) -> None:
    probe = {"httpGet": {"port": 80}}
    made = writer.create("pods", container(readinessProbe=probe, ports=[{"containerPort": 80}]))
    once = plain(made)
    STRATEGIES["pods"].default(made)
    assert plain(made) == once


def test_probes_and_hooks_get_defaults(writer: Writer) -> None:
    made = writer.create(
        "pods",
        container(
            livenessProbe={"httpGet": {"port": 80}},
            startupProbe={"grpc": {"port": 80}},
            lifecycle={"preStop": {"httpGet": {"port": "web"}}},
            ports=[{"containerPort": 80}],
        ),
    )
    found = plain(made)["spec"]["containers"][0]
    assert found["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert found["startupProbe"]["grpc"] == {"port": 80, "service": ""}
    assert found["lifecycle"]["preStop"]["httpGet"]["scheme"] == "HTTP"
    assert found["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "v"}, {"name": "v", "emptyDir": {}}),
        (
            {"name": "v", "secret": {"secretName": "s"}},
            {"name": "v", "secret": {"secretName": "s", "defaultMode": 420}},
        ),
        (
            {"name": "v", "hostPath": {"path": "/srv"}},
            {"name": "v", "hostPath": {"path": "/srv", "type": ""}},
        ),
        (
            {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {
                "name": "v",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}}
                    ],
                    "defaultMode": 420,
                },
            },
        ),
        (
            {
                "name": "v",
                "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "b"}}]},
            },
            {
                "name": "v",
                "downwardAPI": {
                    "items": [{"path": "a", "fieldRef": {"apiVersion": "v1", "fieldPath": "b"}}],
                    "defaultMode": 420,
                },
            },
        ),
    ],
)
def test_volumes_get_defaults(
    writer: Writer, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert plain(writer.create("pods", pod(volumes=[given])))["spec"]["volumes"] == [expected]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"),
        ("nginx:latest@sha256:0123", "Always"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_requests_follow_limits_in_pods_only(writer: Writer) -> None:
    limits = {"limits": {"cpu": "100m", "memory": "1Mi"}}
    made = writer.create("pods", container(resources=limits))
    assert made.spec.containers[0].resources.requests == {"cpu": "100m", "memory": "1Mi"}
    spec = container(resources=limits)["spec"]
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    selector = {"matchLabels": labels}
    body = {"metadata": {"name": "a"}, "spec": {"selector": selector, "template": template}}
    deployment = writer.create("deployments.apps", body)
    assert deployment.spec.template.spec.containers[0].resources.requests == {}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1m"}}, "Burstable"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "1000m"}}, "Guaranteed"),
        ({"limits": {"example.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_qos_class(writer: Writer, resources: dict[str, Any], expected: str) -> None:
    assert writer.create("pods", container(resources=resources)).status.qosClass == expected


def test_amounts_are_rounded_to_thousandths(writer: Writer) -> None:
    made = writer.create("pods", container(resources={"requests": {"cpu": "100u"}}))
    assert made.spec.containers[0].resources.requests == {"cpu": "1m"}


def test_host_network_ports_are_the_host_s(writer: Writer) -> None:
    body = container(ports=[{"containerPort": 80}])
    body["spec"]["hostNetwork"] = True
    assert writer.create("pods", body).spec.containers[0].ports[0].hostPort == 80


@pytest.mark.parametrize(
    ("node", "phase", "own", "asked", "expected"),
    [
        ("", "Pending", 30, None, 0),
        ("", "Pending", 30, 60, 0),
        ("n", "Running", 30, None, 30),
        ("n", "Running", 30, 5, 5),
        ("n", "Running", 30, 0, 0),
        ("n", "Running", 0, None, 0),
        ("n", "Running", -5, None, 1),
        ("n", "Running", 30, -1, 1),
        ("n", "Succeeded", 30, 60, 0),
        ("n", "Failed", 30, None, 0),
    ],
)
def test_grace_period(
    writer: Writer, node: str, phase: str, own: int, asked: int | None, expected: int
) -> None:
    body = pod(nodeName=node, terminationGracePeriodSeconds=own)
    made = writer.create("pods", body)
    made.status.phase = phase
    assert STRATEGIES["pods"].grace_period_seconds(made, asked) == expected


def test_ephemeral_containers_only_come_later(writer: Writer) -> None:
    with pytest.raises(errors.StatusError) as raised:
        writer.create("pods", pod(ephemeralContainers=[{"name": "x", "image": "y"}]))
    assert raised.value.code == 422
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in raised.value.message


def test_generation_counts_changes_of_the_spec_only(writer: Writer) -> None:
    assert writer.update("pods", pod(), pod()).metadata.generation == 1
    labelled = pod()
    labelled["metadata"]["labels"] = {"a": "b"}
    assert writer.update("pods", labelled, pod()).metadata.generation == 1
    other = pod(containers=[{"name": "web", "image": "nginx:2"}])
    assert writer.update("pods", other, pod()).metadata.generation == 2


def test_a_status_update_keeps_the_rest(writer: Writer) -> None:
    old, new = writer.create("pods", pod()), writer.create("pods", pod(hostNetwork=True))
    new.status.phase, new.status.qosClass = "Running", ""
    STRATEGIES["pods"].prepare_status_update(new, old)
    assert new.spec == old.spec
    assert (new.status.phase, new.status.qosClass) == ("Running", "BestEffort")
