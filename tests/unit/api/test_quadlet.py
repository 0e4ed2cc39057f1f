"""What runs a pod without Wherry: a unit, a manifest, and what is missing from it."""

from __future__ import annotations

from typing import Any

import msgspec

from common.api import quadlet
from common.api.codec import json as codec
from common.api.codec import yaml
from common.api.podreferences import CONFIG_MAPS, SECRETS, Reference
from common.api.types.core_v1 import Pod
from tests.unit.apiserver.conftest import STRATEGIES, Writer
from tests.unit.apiserver.resources.core.test_pod_defaults import pod

SETTINGS = {"metadata": {"name": "settings", "uid": "1"}, "data": {"a": "b"}}
PASSWORD = {"metadata": {"name": "password"}, "type": "Opaque", "data": {"p": "c2VjcmV0"}}
OBJECTS = {
    Reference(SECRETS, "n", "password"): PASSWORD,
    Reference(CONFIG_MAPS, "n", "settings"): SETTINGS,
}


def exported(container: dict[str, Any] | None = None, **spec: Any) -> quadlet.Exported:
    """A pod as the API stores it, exported."""
    plain = pod(**spec)
    plain["spec"]["containers"][0] |= container or {}
    plain["metadata"] |= {"namespace": "n", "uid": "u", "labels": {"app": "a"}}
    made = Writer().create("pods", plain)
    assert STRATEGIES["pods"].validate(made) == []
    return quadlet.export(codec.decode_plain(codec.encode(made)), OBJECTS)


def manifest(made: quadlet.Exported) -> dict[str, Any]:
    """The pod of the manifest."""
    found: dict[str, Any] = yaml.decode_all(made.files["a.yaml"])[-1]
    return found


def test_a_unit_and_a_manifest() -> None:
    made = exported()
    assert (made.unit, sorted(made.files)) == ("a.service", ["a.kube", "a.yaml"])
    unit = made.files["a.kube"].decode()
    assert "\n[Kube]\nYaml=a.yaml\n" in unit
    assert "Description=Pod n/a, exported from Wherry\n" in unit
    kinds = [
        (one["kind"], one["metadata"]["name"]) for one in yaml.decode_all(made.files["a.yaml"])
    ]
    assert kinds == [("Pod", "a")]
    volumes = [
        {"name": "s", "configMap": {"name": "settings"}},
        {"name": "p", "secret": {"secretName": "password"}},
    ]
    made = exported(volumes=volumes)
    documents = yaml.decode_all(made.files["a.yaml"])
    assert [one["kind"] for one in documents] == ["ConfigMap", "Secret", "Pod"]
    assert documents[0] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"a": "b"},
    }


def test_what_the_api_adds_is_missed_by_nobody() -> None:
    made = exported(nodeName="node1", tolerations=[{"operator": "Exists"}], priority=0)
    assert made.left_out == []
    one = manifest(made)
    assert one["metadata"] == {"name": "a", "labels": {"app": "a"}}
    assert set(one["spec"]) == {
        "containers",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "securityContext",
    }
    msgspec.convert(one, Pod)


def test_what_podman_cannot_carry_out_is_named() -> None:
    made = exported(
        {
            "readinessProbe": {"tcpSocket": {"port": 80}},
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "volumeMounts": [
                {"name": "down", "mountPath": "/down"},
                {"name": "kept", "mountPath": "/kept"},
                {"name": "tok", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            ],
        },
        activeDeadlineSeconds=5,
        volumes=[
            {"name": "down", "downwardAPI": {"items": []}},
            {"name": "kept", "emptyDir": {}},
            {"name": "tok", "projected": {"sources": []}},
        ],
    )
    assert sorted(made.left_out) == [
        "spec.activeDeadlineSeconds",
        "spec.containers[web].env[IP]",
        "spec.containers[web].readinessProbe",
        "spec.volumes[down]",
    ]
    spec = manifest(made)["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["kept"]
    assert [mount["name"] for mount in spec["containers"][0]["volumeMounts"]] == ["kept"]


def test_variables_are_written_with_their_values() -> None:
    paths = ("metadata.name", "metadata.namespace", "metadata.labels['app']", "spec.nodeName")
    env = [
        {"name": f"V{number}", "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for number, path in enumerate(paths)
    ]
    env.append({"name": "S", "valueFrom": {"secretKeyRef": {"name": "password", "key": "p"}}})
    every = [{"prefix": "ALL_", "configMapRef": {"name": "settings"}}]
    made = exported({"env": env, "envFrom": every}, nodeName="node1")
    found = manifest(made)["spec"]["containers"][0]["env"]
    assert {one["name"]: one["value"] for one in found} == {
        "ALL_a": "b",
        "V0": "a",
        "V1": "n",
        "V2": "a",
        "V3": "node1",
        "S": "secret",
    }
    assert made.left_out == []
