"""How far an object is, in the words of `kubectl rollout status`."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.errors import StatusError
from common.client.apply import progress, resource_of, trouble


def workload(kind: str, wanted: int, **status: Any) -> dict[str, Any]:
    """An object of generation 2 with a status."""
    status.setdefault("observedGeneration", 2)
    return {
        "kind": kind,
        "metadata": {"name": "w", "generation": 2},
        "spec": {"replicas": wanted},
        "status": status,
    }


ENDED = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]


@pytest.mark.parametrize(
    ("plain", "done", "text"),
    [
        (workload("Deployment", 3, observedGeneration=1), False, "spec update to be observed"),
        (workload("Deployment", 3, replicas=3, updatedReplicas=1), False, "1 out of 3 new"),
        (
            workload("Deployment", 3, replicas=4, updatedReplicas=3, availableReplicas=3),
            False,
            "1 old replicas are pending termination",
        ),
        (
            workload("Deployment", 3, replicas=3, updatedReplicas=3, availableReplicas=2),
            False,
            "2 of 3 updated replicas are available",
        ),
        (
            workload("Deployment", 3, replicas=3, updatedReplicas=3, availableReplicas=3),
            True,
            'deployment "w" successfully rolled out',
        ),
        (workload("Deployment", 0), True, 'deployment "w" successfully rolled out'),
        (workload("ReplicaSet", 2, readyReplicas=1), False, "1 of 2 replicas are ready"),
        (workload("StatefulSet", 2, readyReplicas=2), True, "is ready"),
        (
            workload("DaemonSet", 0, desiredNumberScheduled=2, updatedNumberScheduled=1),
            False,
            "1 out of 2 new pods",
        ),
        (
            workload(
                "DaemonSet",
                0,
                desiredNumberScheduled=2,
                updatedNumberScheduled=2,
                numberAvailable=2,
            ),
            True,
            "successfully rolled out",
        ),
        ({"kind": "Pod", "metadata": {"name": "p"}}, False, "to be ready: Pending"),
        (
            {
                "kind": "Pod",
                "metadata": {"name": "p"},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
            True,
            "is ready",
        ),
        (
            {"kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Succeeded"}},
            True,
            "has completed",
        ),
        (
            {
                "kind": "Pod",
                "metadata": {"name": "p"},
                "status": {
                    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]
                },
            },
            False,
            "ImagePullBackOff",
        ),
        ({"kind": "ConfigMap", "metadata": {"name": "c"}}, True, "is there"),
    ],
)
def test_progress(plain: dict[str, Any], done: bool, text: str) -> None:
    """Each stage has its sentence."""
    found = progress(plain)
    assert (found.done, found.failed) == (done, False)
    assert text in found.text


def test_failures_end_the_waiting() -> None:
    """A rollout past its deadline and a failed pod will not get better."""
    assert progress(workload("Deployment", 3, conditions=ENDED)).failed
    failed = {"kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Failed"}}
    assert progress(failed).failed


def test_manifests_name_their_kind() -> None:
    """Kinds that nobody serves are refused before anything is sent."""
    known = resource_of({"apiVersion": "apps/v1", "kind": "Deployment"})
    assert known.plural == "deployments"
    for wrong in (None, [], {"kind": "Deployment"}, {"apiVersion": "v1", "kind": "Deployment"}):
        with pytest.raises(StatusError):
            resource_of(wrong)


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": status}


BAD_IMAGE = {"reason": "ErrImagePull", "message": "no such image"}


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        (pod(containerStatuses=[{"state": {"waiting": BAD_IMAGE}}]), "ErrImagePull: no such image"),
        (pod(initContainerStatuses=[{"state": {"waiting": {"reason": "X"}}}]), "X"),
        (pod(containerStatuses=[{"state": {"waiting": BAD_IMAGE}}] * 2), BAD_IMAGE["reason"]),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ]
            ),
            "Unschedulable: 0/3 nodes are available",
        ),
    ],
)
def test_why_a_pod_does_not_run(plain: dict[str, Any], text: str) -> None:
    assert trouble(plain).startswith(f'pod "p": {text}')
    assert trouble(plain).count(text) == 1


def test_a_pod_that_is_on_its_way_has_no_trouble() -> None:
    starting = [{"state": {"waiting": {"reason": "ContainerCreating"}}}, {"state": {"running": {}}}]
    assert trouble(pod(containerStatuses=starting)) == ""
    assert trouble({"metadata": {"name": "p"}}) == ""
