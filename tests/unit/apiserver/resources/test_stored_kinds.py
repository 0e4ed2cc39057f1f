"""Kinds that nothing acts on, or that are only kept: their defaults, and what they refuse.

What is refused, and why, are a kube-apiserver's answers to the same objects.
"""

from __future__ import annotations

from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.types import MicroTime
from common.api.types.coordination_v1 import Lease, LeaseSpec
from common.api.types.core_v1 import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PodSpec,
    Volume,
)
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.resources.coordination.lease import LeaseView
from master.controllers.volumeprotection import CLAIMS, VOLUMES, VolumeProtectionController
from tests.unit.apiserver.conftest import STRATEGIES, Writer
from tests.unit.controllers.sim import Cluster

NAMESPACED = {"name": "x", "namespace": "n"}


@pytest.mark.parametrize(
    ("kind", "plain", "problems"),
    [
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}},
            [
                "spec.limits[0].defaultRequest[cpu]: Invalid value",
                "spec.limits[0].default[cpu]: Invalid value",
                "spec.limits[0].min[cpu]: Invalid value",
            ],
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Container", "max": {"foo": "1"}}]}},
            [
                "spec.limits[0].defaultRequest[foo]: Invalid value",
                "spec.limits[0].default[foo]: Invalid value",
                "spec.limits[0].max[foo]: Invalid value",
            ],
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Zap"}]}},
            ["spec.limits[0].type: Invalid value"],
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "PersistentVolumeClaim"}]}},
            ["spec.limits[0].limits: Required value"],
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Pod", "default": {"cpu": "1"}}, {"type": "Pod"}]}},
            ["spec.limits[0].default: Forbidden", "spec.limits[1].type: Duplicate value"],
        ),
        (
            "limitranges",
            {
                "spec": {
                    "limits": [
                        {
                            "type": "Container",
                            "maxLimitRequestRatio": {"cpu": "0.5"},
                            "max": {"cpu": "1"},
                            "min": {"cpu": "1"},
                        }
                    ]
                }
            },
            ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value"],
        ),
        (
            "limitranges",
            {
                "spec": {
                    "limits": [
                        {
                            "type": "Container",
                            "maxLimitRequestRatio": {"cpu": "5"},
                            "max": {"cpu": "1"},
                            "min": {"cpu": "1"},
                        }
                    ]
                }
            },
            ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value"],
        ),
        (
            "limitranges",
            {"spec": {"limits": [{"type": "Container", "maxLimitRequestRatio": {"cpu": "0.5"}}]}},
            ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value"],
        ),
        (
            "limitranges",
            {
                "spec": {
                    "limits": [
                        {
                            "type": "Container",
                            "default": {"hugepages-2Mi": "2Mi"},
                            "defaultRequest": {"hugepages-2Mi": "1Mi"},
                        }
                    ]
                }
            },
            ["spec.limits[0].defaultRequest[hugepages-2Mi]: Invalid value"],
        ),
        ("resourcequotas", {"spec": {"hard": {"foo": "1"}}}, ["spec.hard[foo]: Invalid value"]),
        (
            "resourcequotas",
            {
                "spec": {
                    "hard": {
                        "pods": "1.5",
                        "cpu": "-1",
                        "count/pods": "3",
                        "requests.example.com/gpu": "1",
                        "example.com/x": "1.5",
                    }
                }
            },
            [
                "spec.hard[cpu]: Invalid value",
                "spec.hard[example.com/x]: Invalid value",
                "spec.hard[pods]: Invalid value",
            ],
        ),
        (
            "resourcequotas",
            {"spec": {"hard": {"pods": "1"}, "scopes": ["Foo", "BestEffort", "NotBestEffort"]}},
            ["spec.scopes: Invalid value"],
        ),
        (
            "resourcequotas",
            {"spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}},
            ["spec.scopes: Invalid value"],
        ),
        (
            "resourcequotas",
            {
                "spec": {
                    "hard": {"pods": "1"},
                    "scopeSelector": {
                        "matchExpressions": [
                            {"scopeName": "PriorityClass", "operator": "In"},
                            {"scopeName": "BestEffort", "operator": "In", "values": ["x"]},
                            {"scopeName": "PriorityClass", "operator": "X"},
                        ]
                    },
                }
            },
            [
                "spec.scopeSelector.matchExpressions.operator: Invalid value",
                "spec.scopeSelector.matchExpressions.values: Required value",
            ],
        ),
        (
            "resourcequotas",
            {"spec": {"hard": {"pods": "1", "storage": "1"}}},
            ["spec.hard[storage]: Invalid value"],
        ),
        (
            "persistentvolumeclaims",
            {"spec": {}},
            ["spec.accessModes: Required value", "spec.resources[storage]: Required value"],
        ),
        (
            "persistentvolumeclaims",
            {
                "spec": {
                    "accessModes": ["X", "ReadWriteOncePod", "ReadWriteOnce"],
                    "resources": {"requests": {"storage": "-1"}},
                    "volumeMode": "Z",
                    "storageClassName": "A_b",
                }
            },
            [
                "spec.accessModes: Forbidden",
                "spec.accessModes: Unsupported value",
                "spec.resources[storage]: Invalid value",
                "spec.storageClassName: Invalid value",
                "spec.volumeMode: Unsupported value",
            ],
        ),
        (
            "persistentvolumeclaims",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "dataSourceRef": {"kind": "Foo", "name": ""},
                }
            },
            [
                "spec.dataSource.name: Required value",
                "spec.dataSource: Invalid value",
                "spec.dataSourceRef.name: Required value",
                "spec.dataSourceRef: Invalid value",
            ],
        ),
        (
            "persistentvolumes",
            {"spec": {}},
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec.capacity: Unsupported value",
                "spec: Required value",
            ],
        ),
        (
            "persistentvolumes",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "-1", "cpu": "1"},
                    "hostPath": {"path": "/x"},
                    "nfs": {"server": "", "path": "x"},
                    "persistentVolumeReclaimPolicy": "X",
                    "volumeMode": "",
                }
            },
            [
                "spec.capacity: Unsupported value",
                "spec.capacity[storage]: Invalid value",
                "spec.nfs: Forbidden",
                "spec.persistentVolumeReclaimPolicy: Unsupported value",
                "spec.volumeMode: Unsupported value",
            ],
        ),
        (
            "persistentvolumes",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                    "hostPath": {"path": "/"},
                    "persistentVolumeReclaimPolicy": "Recycle",
                }
            },
            ["spec.persistentVolumeReclaimPolicy: Forbidden"],
        ),
        (
            "persistentvolumes",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                    "local": {"path": "a/../b"},
                }
            },
            ["spec.local.path: Invalid value", "spec.nodeAffinity: Required value"],
        ),
        (
            "persistentvolumes",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                    "local": {"path": "/b"},
                    "nodeAffinity": {},
                }
            },
            ["spec.nodeAffinity.required: Required value"],
        ),
        (
            "persistentvolumes",
            {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                    "csi": {"driver": "", "volumeHandle": ""},
                }
            },
            ["spec.csi.driver: Required value", "spec.csi.volumeHandle: Required value"],
        ),
        ("podtemplates", {"template": {"spec": {}}}, ["template.spec.containers: Required value"]),
        (
            "leases.coordination.k8s.io",
            {
                "spec": {
                    "leaseDurationSeconds": 0,
                    "leaseTransitions": -1,
                    "strategy": "A",
                    "preferredHolder": "",
                }
            },
            ["spec.leaseDurationSeconds: Invalid value", "spec.leaseTransitions: Invalid value"],
        ),
        (
            "leases.coordination.k8s.io",
            {"spec": {"leaseDurationSeconds": -5, "preferredHolder": "h"}},
            ["spec.leaseDurationSeconds: Invalid value"],
        ),
        (
            "controllerrevisions.apps",
            {"data": {"a": 1}, "revision": -1},
            ["revision: Invalid value"],
        ),
        ("controllerrevisions.apps", {"data": None, "revision": 1}, ["data: Required value"]),
        ("controllerrevisions.apps", {"data": [], "revision": 1}, ["data: Required value"]),
    ],
)
def test_refused(writer: Writer, kind: str, plain: dict[str, Any], problems: list[str]) -> None:
    found = writer.create_problems(kind, {"metadata": dict(NAMESPACED), **plain})
    assert sorted({": ".join(text.split(": ")[:2]) for text in found}) == problems


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {
    "accessModes": ["ReadWriteOnce"],
    "capacity": {"storage": "1Gi"},
    "hostPath": {"path": "/x"},
}


def test_a_claim(writer: Writer) -> None:
    plain = {"metadata": dict(NAMESPACED), "spec": {**CLAIM, "dataSource": {"kind": "X"}}}
    made = writer.create(CLAIMS, {**plain, "status": {"phase": "Bound"}})
    assert (made.status.phase, made.spec.volumeMode) == ("Pending", "Filesystem")
    assert made.metadata.finalizers == ("kubernetes.io/pvc-protection",)
    assert made.spec.dataSource is None
    source = {"kind": "PersistentVolumeClaim", "name": "y"}
    made = writer.create(CLAIMS, {**plain, "spec": {**CLAIM, "dataSource": source}})
    assert made.spec.dataSourceRef.name == "y"
    assert writer.create_problems(CLAIMS, {**plain, "spec": CLAIM}) == []
    made.spec.resources.requests = {"storage": "1500m"}
    assert [text for text in STRATEGIES[CLAIMS].warnings(made) if "stored" not in text] == [
        'spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an '
        "integer"
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"volumeName": "v"}, None),
        ({"storageClassName": "fast"}, None),
        ({"resources": {"requests": {"storage": "2Gi"}}}, "spec: Forbidden"),
        ({"accessModes": ["ReadOnlyMany"]}, "spec: Forbidden"),
        ({"volumeMode": "Block"}, "spec: Forbidden"),
    ],
)
def test_a_claim_that_waits_can_only_be_bound(
    writer: Writer, change: dict[str, Any], problem: str | None
) -> None:
    old = {"metadata": dict(NAMESPACED), "spec": CLAIM}
    found = writer.update_problems(CLAIMS, {**old, "spec": {**CLAIM, **change}}, old)
    assert found[0].startswith(problem) if problem else found == [], found


def test_a_claim_that_is_bound_grows_and_does_not_shrink(writer: Writer) -> None:
    strategy = STRATEGIES[CLAIMS]
    old, new = (
        writer.create(CLAIMS, {"metadata": dict(NAMESPACED), "spec": CLAIM}) for _ in range(2)
    )
    old.status.phase, old.status.capacity = "Bound", {"storage": "1Gi"}
    new.spec.resources.requests = {"storage": "2Gi"}
    assert strategy.validate_update(new, old) == []
    new.spec.resources.requests = {"storage": "1Mi"}
    (found,) = strategy.validate_update(new, old)
    assert "field can not be less than status.capacity" in str(found)


def test_a_volume(writer: Writer) -> None:
    made = writer.create(VOLUMES, {"metadata": {"name": "v"}, "spec": VOLUME})
    assert (made.status.phase, made.spec.volumeMode) == ("Pending", "Filesystem")
    assert made.status.lastPhaseTransitionTime == "2030-01-01T00:00:00Z"
    assert made.spec.persistentVolumeReclaimPolicy == "Retain"
    assert made.spec.hostPath.type == ""
    assert made.metadata.finalizers == ("kubernetes.io/pv-protection",)
    other = {**VOLUME, "hostPath": {"path": "/y"}}
    plain = {"metadata": {"name": "v"}, "spec": VOLUME}
    (found,) = writer.update_problems(VOLUMES, {**plain, "spec": other}, plain)
    assert found.startswith("spec.persistentvolumesource: Forbidden")


def test_limits_follow_from_each_other(writer: Writer) -> None:
    limits = [
        {"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}},
        {"type": "Pod", "max": {"cpu": "1"}},
    ]
    plain = {"metadata": dict(NAMESPACED), "spec": {"limits": limits}}
    container, pod = writer.create("limitranges", plain).spec.limits
    assert container.default == {"cpu": "1"}
    assert container.defaultRequest == {"cpu": "1", "memory": "1Mi"}
    assert (pod.default, pod.defaultRequest) == ({}, {})


def test_a_pod_template(writer: Writer) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
    old = {"metadata": dict(NAMESPACED), "template": template}
    made = writer.create("podtemplates", old)
    assert made.metadata.generation == 1
    assert made.template.spec.restartPolicy == "Always"
    assert writer.update("podtemplates", old, old).metadata.generation == 1
    other = {"spec": {"containers": [{"name": "c", "image": "j"}]}}
    assert writer.update("podtemplates", {**old, "template": other}, old).metadata.generation == 2


def test_a_quota_keeps_its_scopes(writer: Writer) -> None:
    old = {"metadata": dict(NAMESPACED), "spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}}
    new = {**old, "spec": {"hard": {"pods": "1"}}}
    (found,) = writer.update_problems("resourcequotas", new, old)
    assert found.startswith("spec.scopes: Invalid value")


def test_a_revision_keeps_its_data(writer: Writer) -> None:
    old = {"metadata": dict(NAMESPACED), "data": {"a": 1}, "revision": 1}
    kind = "controllerrevisions.apps"
    assert writer.update_problems(kind, {**old, "revision": 2}, old) == []
    (found,) = writer.update_problems(kind, {**old, "data": {"a": 2}}, old)
    assert found.startswith("data: Invalid value")


def test_an_account_names_its_secrets(writer: Writer) -> None:
    plain = {"metadata": dict(NAMESPACED), "secrets": [{"name": "a", "kind": "Foo", "uid": "u"}]}
    (secret,) = writer.create("serviceaccounts", plain).secrets
    assert (secret.name, secret.kind, secret.uid) == ("a", "", "")


def test_a_lease_asks_for_no_election(writer: Writer) -> None:
    spec = {"strategy": "OldestEmulationVersion", "preferredHolder": "h", "holderIdentity": ""}
    made = writer.create("leases.coordination.k8s.io", {"metadata": NAMESPACED, "spec": spec})
    assert (made.spec.strategy, made.spec.preferredHolder) == (None, None)
    assert made.spec.holderIdentity == ""


def test_claims_and_volumes_go_when_nobody_uses_them() -> None:
    cluster, controller = Cluster(), VolumeProtectionController()
    going = {"deletionTimestamp": "2030-01-01T00:00:00Z", "namespace": "n"}
    claim = ObjectMeta(name="c", finalizers=("kubernetes.io/pvc-protection",), **going)
    cluster.put(PersistentVolumeClaim(metadata=claim))
    used = PersistentVolumeClaimVolumeSource(claimName="c")
    volumes = (Volume(name="v", persistentVolumeClaim=used),)
    pod = Pod(metadata=ObjectMeta(name="p", namespace="n"), spec=PodSpec(volumes=volumes))
    pod.spec.nodeName = "n1"
    cluster.put(pod)
    key = f"{CLAIMS}:n/c"
    assert cluster.reconcile(controller, key) == []
    (gone,) = cluster.listers["pods"].list()
    cluster.remove(Pod, "p", "n")
    pods = cluster.listers["pods"].resource
    assert list(controller.keys(cluster.view, pods, gone, None)) == [key]
    cluster.reconcile(controller, key)
    assert cluster.list(PersistentVolumeClaim) == []
    volume = ObjectMeta(name="v", finalizers=("kubernetes.io/pv-protection",))
    volume.deletionTimestamp = going["deletionTimestamp"]
    held = PersistentVolume(metadata=volume)
    held.status.phase = "Bound"
    cluster.put(held)
    assert cluster.reconcile(controller, f"{VOLUMES}:v") == []
    held.status.phase = "Released"
    cluster.put(held)
    cluster.reconcile(controller, f"{VOLUMES}:v")
    assert cluster.list(PersistentVolume) == []


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("1970-01-01T00:00:10.000000Z", "1970-01-01T00:01:40.000000Z"),
        ("1970-01-01T00:02:00.000000Z", "1970-01-01T00:02:00.000000Z"),
        (None, "1970-01-01T00:01:40.000000Z"),
    ],
)
def test_a_lease_shows_the_newer_heartbeat(stored: str | None, shown: str) -> None:
    """A node whose stream was heard after 100 seconds, and what another agent has written."""
    view = LeaseView(STRATEGIES["leases.coordination.k8s.io"].resource, {"n1": 100.0})
    meta = ObjectMeta(name="n1", namespace="kube-node-lease")
    lease = Lease(metadata=meta, spec=LeaseSpec(renewTime=stored and MicroTime(stored)))
    assert codec.decode(view.outbound(codec.encode(lease)), Lease).spec.renewTime == shown
