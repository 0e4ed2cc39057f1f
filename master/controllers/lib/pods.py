"""What several controllers ask of pods: ready, available, which to delete first, from a template.

Source: pkg/controller/controller_utils.go and pkg/api/v1/pod of Kubernetes. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

import msgspec

from common.api import conditions, integers, times
from common.api.types.core_v1 import Pod, PodTemplateSpec
from common.api.types.meta_v1 import ObjectMeta, OwnerReference

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
_NANOSECONDS = 1e9


def is_active(pod: Pod) -> bool:
    """Whether a pod counts as a replica: neither finished nor being deleted."""
    return pod.status.phase not in ("Succeeded", "Failed") and not pod.metadata.deletionTimestamp


def is_ready(pod: Pod) -> bool:
    """Whether the Ready condition is True."""
    return conditions.is_true(pod.status.conditions, "Ready")


def ready_since(pod: Pod) -> str | None:
    """Since when a pod is ready; None when it is not or does not say."""
    ready = conditions.find(pod.status.conditions, "Ready")
    return ready.lastTransitionTime if ready and ready.status == "True" else None


def seconds_to_available(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """0 when a pod is available, else how long it must stay ready; None when it is not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if min_ready_seconds == 0 or since is None:
        return 0.0 if min_ready_seconds == 0 else None
    return max(0.0, min_ready_seconds - times.age_seconds(since, now))


def finished_at(pod: Pod) -> str | None:
    """When the last container of a finished pod ended; else when the pod was made."""
    ends = [
        status.state.terminated.finishedAt
        for status in pod.status.containerStatuses
        if status.state and status.state.terminated and status.state.terminated.finishedAt
    ]
    return max(ends) if ends else pod.metadata.creationTimestamp


def controller_reference(api_version: str, kind: str, metadata: ObjectMeta) -> OwnerReference:
    """The owner reference of what a controller makes for an object."""
    return OwnerReference(
        apiVersion=api_version,
        kind=kind,
        name=metadata.name,
        uid=metadata.uid,
        controller=True,
        blockOwnerDeletion=True,
    )


def from_template(template: PodTemplateSpec, namespace: str, owner: OwnerReference) -> Pod:
    """A new pod of a template; it shares nothing that is ever changed with the template."""
    return Pod(
        metadata=ObjectMeta(
            generateName=f"{owner.name}-",
            namespace=namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            finalizers=template.metadata.finalizers,
            ownerReferences=(owner,),
        ),
        spec=msgspec.structs.replace(template.spec),
    )


def restarts(pod: Pod) -> int:
    """The restarts of the container that restarted most."""
    return max((status.restartCount for status in pod.status.containerStatuses), default=0)


def deletion_cost(pod: Pod) -> int:
    """The cost that a user put on deleting this pod; 0 when there is none to understand."""
    return integers.parse(pod.metadata.annotations.get(DELETION_COST, "")) or 0


def _age_rank(since: str | None, now: datetime) -> int:
    """Ages by powers of two, so that pods of about the same age count as equal."""
    age = times.age_seconds(since, now)
    return int(math.log2(age * _NANOSECONDS)) if since and age > 0 else -1


def deletion_order(pod: Pod, crowd: Mapping[str, int], now: datetime) -> tuple[object, ...]:
    """A sort key: what is scaled down first comes first.

    `crowd` counts the related active pods of each node: a node with many gives one up first.
    """
    ready = is_ready(pod)
    return (
        bool(pod.spec.nodeName),
        _PHASES.get(pod.status.phase, 0),
        ready,
        deletion_cost(pod),
        -crowd.get(pod.spec.nodeName, 0),
        _age_rank(ready_since(pod), now) if ready else 0,
        -restarts(pod),
        _age_rank(pod.metadata.creationTimestamp, now),
        pod.metadata.uid,
    )
