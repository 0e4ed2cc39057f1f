"""The tables of `kubectl get`, kind by kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from common.api import times
from master.apiserver import tables
from master.apiserver.registry.handler import Shown
from master.apiserver.resources.core.service import endpoints
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock

CATALOGUE = fakes.whole(FakeClock()).catalogue
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def ago(**spent: float) -> str:
    return times.to_time(NOW - timedelta(**spent))


def shown(group: str, plural: str) -> Shown:
    return CATALOGUE.require(CATALOGUE.scheme.require(group, "v1", plural)).shown


def row(group: str, plural: str, obj: dict[str, Any]) -> dict[str, Any]:
    """The cells of an object by column."""
    of = shown(group, plural)
    obj.setdefault("metadata", {}).setdefault("name", "a")
    obj["metadata"].setdefault("creationTimestamp", ago(minutes=5))
    made = tables.row(of, msgspec.json.encode(obj), NOW, "None")
    return dict(zip((c.name for c in of.columns), made["cells"], strict=True))


def state(**what: Any) -> dict[str, Any]:
    return {"name": "c", "restartCount": 0, "ready": False, "state": what}


RUNNING = {"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}
DONE = state(terminated={"exitCode": 0, "reason": "Completed"})
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("status", "ready", "shown"),
    [
        ({"phase": "Pending"}, "0/1", "Pending"),
        ({"phase": "Running", "containerStatuses": [RUNNING]}, "1/1", "Running"),
        ({"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}],
            },
            "0/1",
            "SchedulingGated",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [state(waiting={"reason": "ImagePullBackOff"})],
            },
            "0/1",
            "ImagePullBackOff",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [state(waiting={"reason": "CrashLoopBackOff"})],
            },
            "0/1",
            "CrashLoopBackOff",
        ),
        (
            {"phase": "Failed", "containerStatuses": [state(terminated={"exitCode": 3})]},
            "0/1",
            "ExitCode:3",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [state(terminated={"exitCode": 137, "signal": 9})],
            },
            "0/1",
            "Signal:9",
        ),
        ({"phase": "Succeeded", "containerStatuses": [DONE]}, "0/1", "Completed"),
        ({"phase": "Running", "containerStatuses": [DONE, RUNNING], **READY}, "1/1", "Running"),
        ({"phase": "Running", "containerStatuses": [DONE, RUNNING]}, "1/1", "NotReady"),
        (
            {
                "phase": "Running",
                "containerStatuses": [DONE, state(terminated={"exitCode": 1, "reason": "Error"})],
            },
            "0/1",
            "Error",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [state(running={})]},
            "0/1",
            "Init:0/0",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [state(terminated={"exitCode": 2})]},
            "0/1",
            "Init:ExitCode:2",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [state(waiting={"reason": "CrashLoopBackOff"})],
            },
            "0/1",
            "Init:CrashLoopBackOff",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [DONE, state(waiting={})]},
            "0/1",
            "Init:1/0",
        ),
    ],
)
def test_the_status_of_pods(status: dict[str, Any], ready: str, shown: str) -> None:
    cells = row("", "pods", {"spec": {"containers": [{"name": "c"}]}, "status": status})
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == (ready, shown, "0")
    assert (cells["Name"], cells["Age"], cells["Node"], cells["IP"]) == (
        "a",
        "5m",
        "<none>",
        "<none>",
    )


def test_sidecars_count_as_containers() -> None:
    spec = {
        "containers": [{"name": "c"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}],
    }
    sidecar = {**RUNNING, "name": "s", "started": True, "restartCount": 2}
    status = {
        "initContainerStatuses": [sidecar],
        "containerStatuses": [RUNNING],
        "phase": "Running",
    }
    cells = row("", "pods", {"spec": spec, "status": status})
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == ("2/2", "Running", "2")


@pytest.mark.parametrize(
    ("phase", "reason", "shown"),
    [("Running", "", "Terminating"), ("Running", "NodeLost", "Unknown"), ("Failed", "", "Failed")],
)
def test_deleting_pods(phase: str, reason: str, shown: str) -> None:
    obj = {
        "metadata": {"deletionTimestamp": ago(seconds=1)},
        "spec": {},
        "status": {"phase": phase, "reason": reason},
    }
    assert row("", "pods", obj)["Status"] == shown


def test_restarts_say_when() -> None:
    ended = {"terminated": {"finishedAt": ago(minutes=3), "exitCode": 1}}
    earlier = {"terminated": {"finishedAt": ago(hours=3), "exitCode": 1}}
    statuses = [
        {**RUNNING, "restartCount": 2, "lastState": ended},
        {**RUNNING, "restartCount": 1, "lastState": earlier},
    ]
    obj = {"spec": {}, "status": {"phase": "Running", "containerStatuses": statuses}}
    assert row("", "pods", obj)["Restarts"] == "3 (3m ago)"


@pytest.mark.parametrize(
    ("ready", "unschedulable", "shown"),
    [
        ("True", False, "Ready"),
        ("False", False, "NotReady"),
        ("Unknown", False, "NotReady"),
        (None, False, "Unknown"),
        ("True", True, "Ready,SchedulingDisabled"),
    ],
)
def test_nodes(ready: str | None, unschedulable: bool, shown: str) -> None:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    labels = {
        "node-role.kubernetes.io/worker": "",
        "node-role.kubernetes.io/control-plane": "",
        "node-role.kubernetes.io/": "",
    }
    status = {
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64", "kubeletVersion": "v1"},
    }
    obj = {
        "metadata": {"labels": labels},
        "spec": {"unschedulable": unschedulable},
        "status": status,
    }
    cells = row("", "nodes", obj)
    assert cells["Status"] == shown
    assert cells["Roles"] == "control-plane,worker"
    assert (cells["Internal-IP"], cells["External-IP"]) == ("10.0.0.1", "<none>")
    assert (cells["Version"], cells["Kernel-Version"]) == ("v1", "6.1 (amd64)")
    assert cells["OS-Image"] == "<unknown>"


TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j"}]},
}
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}
WIDE = {"Containers": "x,y", "Images": "i:1,j", "Selector": "a=b,c"}


@pytest.mark.parametrize(
    ("group", "plural", "obj", "expected"),
    [
        (
            "apps",
            "deployments",
            {
                "spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
                "status": {"readyReplicas": 1, "updatedReplicas": 2},
            },
            {"Ready": "1/3", "Up-to-date": 2, "Available": 0, **WIDE},
        ),
        (
            "apps",
            "replicasets",
            {
                "spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
                "status": {"replicas": 2, "readyReplicas": 1},
            },
            {"Desired": 3, "Current": 2, "Ready": 1, **WIDE},
        ),
        (
            "",
            "replicationcontrollers",
            {"spec": {"replicas": 3, "selector": {"a": "b", "c": "d"}, "template": TEMPLATE}},
            {"Desired": 3, "Current": 0, "Ready": 0, "Selector": "a=b,c=d", "Images": "i:1,j"},
        ),
        (
            "apps",
            "statefulsets",
            {"spec": {"replicas": 3, "template": TEMPLATE}, "status": {"readyReplicas": 1}},
            {"Ready": "1/3", "Containers": "x,y"},
        ),
        (
            "apps",
            "daemonsets",
            {"spec": {"template": TEMPLATE}, "status": {"desiredNumberScheduled": 2}},
            {"Desired": 2, "Current": 0, "Node Selector": "<none>", "Images": "i:1,j"},
        ),
        (
            "apps",
            "controllerrevisions",
            {
                "revision": 2,
                "metadata": {
                    "ownerReferences": [
                        {
                            "apiVersion": "apps/v1",
                            "kind": "DaemonSet",
                            "name": "d",
                            "controller": True,
                        }
                    ]
                },
            },
            {"Controller": "daemonset.apps/d", "Revision": 2},
        ),
        ("", "podtemplates", {"template": TEMPLATE}, {"Pod Labels": "a=b", "Containers": "x,y"}),
        ("", "configmaps", {"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}, {"Data": 3}),
        ("", "secrets", {"data": {"a": ""}, "type": "Opaque"}, {"Data": 1, "Type": "Opaque"}),
        ("", "serviceaccounts", {}, {"Name": "a", "Age": "5m"}),
        ("", "namespaces", {"status": {"phase": "Active"}}, {"Status": "Active"}),
        (
            "",
            "services",
            {
                "spec": {
                    "type": "NodePort",
                    "clusterIPs": ["10.0.0.1"],
                    "ports": [
                        {"port": 80, "nodePort": 30080, "protocol": "TCP"},
                        {"port": 53, "protocol": "UDP"},
                    ],
                    "selector": {"a": "b"},
                }
            },
            {
                "Type": "NodePort",
                "Cluster-IP": "10.0.0.1",
                "External-IP": "<none>",
                "Port(s)": "80:30080/TCP,53/UDP",
                "Selector": "a=b",
            },
        ),
        (
            "",
            "services",
            {"spec": {"type": "LoadBalancer"}},
            {"External-IP": "<pending>", "Cluster-IP": "<none>", "Port(s)": "<none>"},
        ),
        (
            "",
            "services",
            {"spec": {"type": "ExternalName", "externalName": "b.example"}},
            {"External-IP": "b.example"},
        ),
        (
            "",
            "endpoints",
            {
                "subsets": [
                    {
                        "addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                        "ports": [{"port": 80}, {"port": 81}],
                    }
                ]
            },
            {"Endpoints": "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more..."},
        ),
        ("", "endpoints", {}, {"Endpoints": "<none>"}),
        (
            "discovery.k8s.io",
            "endpointslices",
            {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
            {"AddressType": "IPv4", "Ports": "<unset>", "Endpoints": "10.0.0.1"},
        ),
        (
            "",
            "resourcequotas",
            {
                "status": {
                    "hard": {"pods": "4", "limits.cpu": "2", "cpu": "1"},
                    "used": {"pods": "1"},
                }
            },
            {"Request": "cpu: 0/1, pods: 1/4", "Limit": "limits.cpu: 0/2"},
        ),
        (
            "",
            "persistentvolumeclaims",
            {
                "spec": {"volumeName": "v", "volumeMode": "Filesystem"},
                "status": {
                    "phase": "Bound",
                    "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                    "capacity": {"storage": "1Gi"},
                },
            },
            {
                "Status": "Bound",
                "Access Modes": "RWO,RWX",
                "Capacity": "1Gi",
                "VolumeMode": "Filesystem",
                "VolumeAttributesClass": "<unset>",
            },
        ),
        (
            "",
            "persistentvolumes",
            {
                "metadata": {"deletionTimestamp": ago(seconds=1)},
                "spec": {
                    "accessModes": ["ReadOnlyMany"],
                    "claimRef": {"namespace": "n", "name": "c"},
                },
                "status": {"phase": "Bound"},
            },
            {"Status": "Terminating", "Claim": "n/c", "Access Modes": "ROX"},
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {
                "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
                "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="},
            },
            {"Condition": "Approved,Issued", "RequestedDuration": "60m", "Requestor": "u"},
        ),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            {"spec": {}, "status": {}},
            {"Condition": "Pending", "RequestedDuration": "<none>", "SignerName": "<none>"},
        ),
        ("coordination.k8s.io", "leases", {"spec": {"holderIdentity": "h"}}, {"Holder": "h"}),
    ],
)
def test_kinds(group: str, plural: str, obj: dict[str, Any], expected: dict[str, Any]) -> None:
    cells = row(group, plural, obj)
    assert {name: cells[name] for name in expected} == expected


CORE_EVENT = {
    "firstTimestamp": ago(hours=1),
    "lastTimestamp": ago(minutes=1),
    "count": 7,
    "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
    "source": {"component": "kubelet", "host": "n"},
    "type": "Warning",
    "reason": "BackOff",
    "message": "text \n",
}
VIEW_EVENT = {
    "deprecatedFirstTimestamp": ago(hours=1),
    "deprecatedLastTimestamp": ago(minutes=1),
    "deprecatedCount": 7,
    "regarding": CORE_EVENT["involvedObject"],
    "deprecatedSource": CORE_EVENT["source"],
    "type": "Warning",
    "reason": "BackOff",
    "note": "text \n",
}


@pytest.mark.parametrize(("group", "obj"), [("", CORE_EVENT), ("events.k8s.io", VIEW_EVENT)])
def test_events_look_the_same_in_both_groups(group: str, obj: dict[str, Any]) -> None:
    assert row(group, "events", dict(obj)) == {
        "Last Seen": "60s",
        "Type": "Warning",
        "Reason": "BackOff",
        "Object": "pod/p",
        "Subobject": "spec.containers{c}",
        "Source": "kubelet, n",
        "Message": "text",
        "First Seen": "60m",
        "Count": 7,
        "Name": "a",
    }


def test_an_event_of_today_has_one_time() -> None:
    obj = {"eventTime": "2029-12-31T23:59:50.000000Z", "reportingComponent": "c"}
    cells = row("", "events", obj)
    assert (cells["Last Seen"], cells["First Seen"], cells["Count"]) == ("10s", "10s", 1)
    assert cells["Source"] == "c"


def test_every_computed_column_has_a_cell() -> None:
    for found in CATALOGUE.scheme.resources():
        computed = {column.name for column in found.columns if not column.path} - {"Name", "Age"}
        obj: dict[str, Any] = {"metadata": {}, "spec": {}}
        cells = CATALOGUE.require(found).cells
        printed = cells(obj, NOW) if cells else {}
        assert computed <= set(printed), found.kind


def test_rows_include_what_was_asked_for() -> None:
    of = shown("", "configmaps")
    data = msgspec.json.encode({"metadata": {"name": "a"}, "data": {}})
    assert "object" not in tables.row(of, data, NOW, "None")
    assert tables.row(of, data, NOW, "Metadata")["object"]["kind"] == "PartialObjectMetadata"
    assert tables.row(of, data, NOW, "Object")["object"] == msgspec.Raw(data)


def test_of_a_long_list_only_what_is_shown_is_looked_at() -> None:
    """Endpoints are addresses times ports."""
    address = {"ip": "10.0.0.1"}
    many = {"subsets": [{"addresses": [address] * 20_000, "ports": [{"port": 1}] * 10_000}]}
    made = endpoints.cells_of(many, NOW)
    assert made == {"Endpoints": "10.0.0.1:1,10.0.0.1:1,10.0.0.1:1 + 199999997 more..."}
