"""Defaults and rules of ReplicationControllers, ReplicaSets, Deployments and their kin."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import errors
from common.api.codec import json as codec
from tests.unit.apiserver.conftest import STRATEGIES, Writer

LABELS = {"app": "a"}
SELECTED = ("replicasets.apps", "deployments.apps", "statefulsets.apps", "daemonsets.apps")
COUNTED = ("replicasets.apps", "deployments.apps", "statefulsets.apps")
LABELS_PATH = "spec.template.metadata.labels"


def template(**spec: Any) -> dict[str, Any]:
    """A template with the labels that selectors look for."""
    pod = {"containers": [{"name": "web", "image": "nginx:1"}], **spec}
    return {"metadata": {"labels": LABELS}, "spec": pod}


def workload(**spec: Any) -> dict[str, Any]:
    """A workload with a selector."""
    made = {"selector": {"matchLabels": LABELS}, "template": template(), **spec}
    return {"metadata": {"name": "a"}, "spec": made}


def controller(**spec: Any) -> dict[str, Any]:
    """A ReplicationController."""
    return {"metadata": {"name": "a"}, "spec": {"template": template(), **spec}}


def spec_of(obj: Any) -> dict[str, Any]:
    found: dict[str, Any] = codec.decode_plain(codec.encode(obj))["spec"]
    found.pop("template")
    return found


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("replicasets.apps", {"replicas": 1}),
        (
            "deployments.apps",
            {
                "replicas": 1,
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
                },
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
            },
        ),
        (
            "statefulsets.apps",
            {
                "replicas": 1,
                "serviceName": "",
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "revisionHistoryLimit": 10,
                "persistentVolumeClaimRetentionPolicy": {
                    "whenDeleted": "Retain",
                    "whenScaled": "Retain",
                },
            },
        ),
        (
            "daemonsets.apps",
            {
                "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
                },
                "revisionHistoryLimit": 10,
            },
        ),
    ],
)
def test_defaults(writer: Writer, resource: str, expected: dict[str, Any]) -> None:
    made = writer.create(resource, workload())
    assert spec_of(made) == {"selector": {"matchLabels": LABELS}, **expected}
    assert made.spec.template.spec.restartPolicy == "Always"
    assert made.metadata.generation == 1
    assert STRATEGIES[resource].validate(made) == []


def test_a_controller_takes_selector_and_labels_from_its_template(writer: Writer) -> None:
    made = writer.create("replicationcontrollers", controller())
    assert (made.spec.replicas, made.spec.selector, made.metadata.labels) == (1, LABELS, LABELS)
    assert STRATEGIES["replicationcontrollers"].validate(made) == []


def test_zero_is_no_default(writer: Writer) -> None:
    for resource in COUNTED:
        assert writer.create(resource, workload(replicas=0)).spec.replicas == 0
    assert writer.create("replicationcontrollers", controller(replicas=0)).spec.replicas == 0


BAD_IN_ALL = [
    ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    (
        {"minReadySeconds": -1},
        "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        {"template": template(restartPolicy="Never")},
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
    (
        {"template": template(containers=[])},
        "spec.template.spec.containers: Required value",
    ),
]


@pytest.mark.parametrize("resource", COUNTED)
@pytest.mark.parametrize(("spec", "expected"), BAD_IN_ALL)
def test_bad_workloads(writer: Writer, resource: str, spec: dict[str, Any], expected: str) -> None:
    assert expected in writer.create_problems(resource, workload(**spec))


@pytest.mark.parametrize(("spec", "expected"), BAD_IN_ALL)
def test_bad_controllers(writer: Writer, spec: dict[str, Any], expected: str) -> None:
    assert writer.create_problems("replicationcontrollers", controller(**spec)) == [expected]


@pytest.mark.parametrize("resource", SELECTED)
def test_a_selector_must_select_the_template(writer: Writer, resource: str) -> None:
    other = {"matchLabels": {"app": "b"}}
    assert writer.create_problems(resource, workload(selector=other)) == [
        f'{LABELS_PATH}: Invalid value: {{"app":"a"}}: `selector` does not match template `labels`'
    ]
    body = workload()
    del body["spec"]["selector"]
    assert writer.create_problems(resource, body) == [
        "spec.selector: Required value",
        f'{LABELS_PATH}: Invalid value: {{"app":"a"}}: `selector` does not match template `labels`',
    ]
    assert "empty selector is invalid" in writer.create_problems(resource, workload(selector={}))[0]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            {"key": "app", "operator": "In"},
            "spec.selector.matchExpressions[0].values: Required value: must be specified when "
            "`operator` is 'In' or 'NotIn'",
        ),
        (
            {"key": "app", "operator": "Exists", "values": ["a"]},
            "spec.selector.matchExpressions[0].values: Forbidden: may not be specified when "
            "`operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            {"key": "app", "operator": "Like", "values": ["a"]},
            'spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid '
            "selector operator",
        ),
    ],
)
def test_bad_expressions(writer: Writer, expression: dict[str, Any], expected: str) -> None:
    found = writer.create_problems(
        "deployments.apps", workload(selector={"matchExpressions": [expression]})
    )
    assert expected in found


@pytest.mark.parametrize("resource", ["replicasets.apps", "deployments.apps", "daemonsets.apps"])
def test_the_selector_stays(writer: Writer, resource: str) -> None:
    labels = {"app": "a", "tier": "b"}
    new = workload(selector={"matchLabels": labels})
    new["spec"]["template"]["metadata"] = {"labels": labels}
    assert writer.update_problems(resource, new, workload()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"a","tier":"b"}}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "Recreate"}, ""),
        ({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, ""),
        ({"rollingUpdate": {"maxSurge": "200%"}}, ""),
        (
            {"rollingUpdate": {"maxUnavailable": "101%"}},
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be '
            "greater than 100%",
        ),
        (
            {"rollingUpdate": {"maxUnavailable": "9" * 5000 + "%"}},
            "must not be greater than 100%",
        ),
        (
            {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when '
            "`maxSurge` is 0",
        ),
        ({"rollingUpdate": {"maxSurge": -1}}, "must be greater than or equal to 0"),
        ({"rollingUpdate": {"maxSurge": "1.5%"}}, "a valid percent string must be a numeric"),
        ({"rollingUpdate": {"maxSurge": "٣%"}}, "a valid percent string must be a numeric"),
        (
            {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
            "'Recreate'",
        ),
        ({"type": "BlueGreen"}, 'supported values: "Recreate", "RollingUpdate"'),
    ],
)
def test_deployment_strategies(writer: Writer, strategy: dict[str, Any], expected: str) -> None:
    found = writer.create_problems("deployments.apps", workload(strategy=strategy))
    assert (not found) if not expected else (len(found) == 1 and expected in found[0])


def test_a_deadline_is_longer_than_readiness_takes(writer: Writer) -> None:
    body = workload(minReadySeconds=600)
    assert writer.create_problems("deployments.apps", body) == [
        "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"
    ]


@pytest.mark.parametrize(
    ("rolling", "expected"),
    [
        ({"maxUnavailable": 0, "maxSurge": 1}, ""),
        ({"maxUnavailable": 0}, "cannot be 0 when maxSurge is 0"),
        ({"maxSurge": 1}, "may not be set when maxUnavailable is non-zero"),
    ],
)
def test_daemon_set_updates(writer: Writer, rolling: dict[str, Any], expected: str) -> None:
    strategy = {"rollingUpdate": rolling}
    found = writer.create_problems("daemonsets.apps", workload(updateStrategy=strategy))
    assert (not found) if not expected else (len(found) == 1 and expected in found[0])


def test_stateful_sets_keep_names_and_claims(writer: Writer) -> None:
    new = workload(replicas=3, minReadySeconds=1)
    assert writer.update_problems("statefulsets.apps", new, workload()) == []
    found = writer.update_problems("statefulsets.apps", workload(serviceName="b"), workload())
    assert len(found) == 1
    assert "updates to statefulset spec for fields other than 'replicas'" in found[0]


def test_claims_are_volumes_of_a_stateful_set(writer: Writer) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    containers = [{"name": "web", "image": "x", "volumeMounts": mounts}]
    body = workload(template=template(containers=containers))
    assert len(writer.create_problems("statefulsets.apps", body)) == 1
    body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {}}]
    assert writer.create_problems("statefulsets.apps", body) == []


@pytest.mark.parametrize("resource", SELECTED)
def test_generation_counts_changes_of_the_spec(writer: Writer, resource: str) -> None:
    assert writer.update(resource, workload(), workload()).metadata.generation == 1
    changed = workload(template=template(nodeName="n"))
    assert writer.update(resource, changed, workload()).metadata.generation == 2
    annotated = workload()
    annotated["metadata"]["annotations"] = {"a": "b"}
    expected = 2 if resource == "deployments.apps" else 1
    assert writer.update(resource, annotated, workload()).metadata.generation == expected


def test_status_counts_fit_together(writer: Writer) -> None:
    strategy, old = STRATEGIES["deployments.apps"], writer.create("deployments.apps", workload())
    new = writer.create("deployments.apps", workload())
    new.status.replicas = new.status.readyReplicas = 2
    assert strategy.validate_status_update(new, old) == []
    new.status.availableReplicas = 3
    found = [str(finding) for finding in strategy.validate_status_update(new, old)]
    assert found == [
        "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
    ]
    new.status.replicas = -1
    assert "must be greater than or equal to 0" in strategy.validate_status_update(new, old)[0][2]


@pytest.mark.parametrize("number", [2**31, True, "1_000", "٣", "+1", " 7 ", "1", 1.5])
@pytest.mark.parametrize("resource", COUNTED)
def test_what_is_no_number_is_a_bad_request(writer: Writer, resource: str, number: Any) -> None:
    with pytest.raises(errors.StatusError) as raised:
        writer.decode(resource, workload(replicas=number))
    assert raised.value.code == 400
