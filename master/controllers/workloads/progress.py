"""A Deployment's status: its numbers and the conditions Available, Progressing, ReplicaFailure.

Reasons and messages are Kubernetes' own: people and tools read them
(pkg/controller/deployment/progress.go). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from common.api import conditions, times
from common.api.types.apps_v1 import (
    Deployment,
    DeploymentCondition,
    DeploymentStatus,
    ReplicaSet,
)
from master.controllers.workloads import rollout

Conditions = tuple[DeploymentCondition, ...]


def put(
    old: Conditions, kind: str, status: str, reason: str, message: str, *, now: datetime
) -> Conditions:
    """`old` with a condition set; one that has this status and reason already stays as it is."""
    current = conditions.find(old, kind)
    if current is not None and (current.status, current.reason) == (status, reason):
        return old
    return _replace(old, kind, status, reason, message, now=now)


def _replace(
    old: Conditions, kind: str, status: str, reason: str, message: str, *, now: datetime
) -> Conditions:
    """Like `put`, but also renews the update time of an equal condition."""
    current = conditions.find(old, kind)
    stamp = times.to_time(now)
    same = current is not None and current.status == status
    new = DeploymentCondition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        lastUpdateTime=stamp,
        lastTransitionTime=current.lastTransitionTime if current and same else stamp,
    )
    return (*conditions.without(old, kind), new)


def has_deadline(deployment: Deployment) -> bool:
    """Whether progress is watched: 2^31-1 seconds means never."""
    seconds = deployment.spec.progressDeadlineSeconds
    return seconds is not None and seconds != 2**31 - 1


def pause(deployment: Deployment, now: datetime) -> Conditions:
    """The conditions with a pause or its end told: a pause is no lack of progress."""
    old = deployment.status.conditions
    current = conditions.find(old, "Progressing")
    reason = current.reason if current else ""
    if not has_deadline(deployment) or reason == "ProgressDeadlineExceeded":
        return old
    if deployment.spec.paused and reason != "DeploymentPaused":
        text = "Deployment is paused"
        return put(old, "Progressing", "Unknown", "DeploymentPaused", text, now=now)
    if not deployment.spec.paused and reason == "DeploymentPaused":
        text = "Deployment is resumed"
        return put(old, "Progressing", "Unknown", "DeploymentResumed", text, now=now)
    return old


def numbers(
    deployment: Deployment, everything: Sequence[ReplicaSet], new: ReplicaSet | None
) -> DeploymentStatus:
    """The status with its numbers counted anew; the conditions are as they were."""
    statuses = [replica_set.status for replica_set in everything]
    available = sum(status.availableReplicas for status in statuses)
    terminating = [s.terminatingReplicas for s in statuses if s.terminatingReplicas is not None]
    return DeploymentStatus(
        observedGeneration=deployment.metadata.generation,
        replicas=sum(status.replicas for status in statuses),
        updatedReplicas=new.status.replicas if new is not None else 0,
        readyReplicas=sum(status.readyReplicas for status in statuses),
        availableReplicas=available,
        unavailableReplicas=max(0, rollout.sizes(everything) - available),
        terminatingReplicas=sum(terminating) if terminating else None,
        collisionCount=deployment.status.collisionCount,
        conditions=deployment.status.conditions,
    )


def available(deployment: Deployment, status: DeploymentStatus, now: datetime) -> Conditions:
    """The conditions with Available set from the numbers."""
    old = status.conditions
    if status.availableReplicas >= rollout.minimum(deployment):
        text = "Deployment has minimum availability."
        return put(old, "Available", "True", "MinimumReplicasAvailable", text, now=now)
    text = "Deployment does not have minimum availability."
    return put(old, "Available", "False", "MinimumReplicasUnavailable", text, now=now)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether every pod is a new one, available, and no old one is left."""
    total = rollout.wanted(deployment)
    counts = {status.updatedReplicas, status.replicas, status.availableReplicas}
    return counts == {total} and status.observedGeneration >= deployment.metadata.generation


def progressing(
    deployment: Deployment,
    before: DeploymentStatus,
    status: DeploymentStatus,
    new: ReplicaSet | None,
    *,
    now: datetime,
) -> Conditions:
    """The conditions with Progressing set from what has moved since the status `before`."""
    old = status.conditions
    if not has_deadline(deployment):
        return conditions.without(old, "Progressing")
    current = conditions.find(old, "Progressing")
    done = current is not None and current.reason == "NewReplicaSetAvailable"
    if done and status.replicas == status.updatedReplicas:
        return old
    what = f'Deployment "{deployment.metadata.name}"'
    if new is not None:
        what = f'ReplicaSet "{new.metadata.name}"'
    if is_complete(deployment, status):
        text = f"{what} has successfully progressed."
        return put(old, "Progressing", "True", "NewReplicaSetAvailable", text, now=now)
    if _has_moved(before, status):
        text = f"{what} is progressing."
        return _replace(old, "Progressing", "True", "ReplicaSetUpdated", text, now=now)
    if _is_late(deployment, current, now):
        text = f"{what} has timed out progressing."
        return put(old, "Progressing", "False", "ProgressDeadlineExceeded", text, now=now)
    return old


def _has_moved(before: DeploymentStatus, status: DeploymentStatus) -> bool:
    old_before = before.replicas - before.updatedReplicas
    return (
        status.updatedReplicas > before.updatedReplicas
        or status.replicas - status.updatedReplicas < old_before
        or status.readyReplicas > before.readyReplicas
        or status.availableReplicas > before.availableReplicas
    )


def _is_late(deployment: Deployment, current: DeploymentCondition | None, now: datetime) -> bool:
    if current is None or current.reason == "NewReplicaSetAvailable":
        return False
    late = current.reason == "ProgressDeadlineExceeded"
    return late or seconds_left(deployment, current, now) < 0


def seconds_left(deployment: Deployment, current: DeploymentCondition, now: datetime) -> float:
    """How long until lack of progress is told."""
    deadline = deployment.spec.progressDeadlineSeconds or 0
    return deadline - times.age_seconds(current.lastUpdateTime, now)


def failure(
    old: Conditions, everything: Sequence[ReplicaSet], new: ReplicaSet | None
) -> Conditions:
    """The conditions with the ReplicaFailure of a ReplicaSet, the new one's before others'."""
    ordered = [*([new] if new is not None else []), *everything]
    for replica_set in ordered:
        condition = conditions.find(replica_set.status.conditions, "ReplicaFailure")
        if condition is not None:
            current = conditions.find(old, "ReplicaFailure")
            if current and (current.status, current.reason) == (condition.status, condition.reason):
                return old
            copied = DeploymentCondition(
                type=condition.type,
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
                lastTransitionTime=condition.lastTransitionTime,
                lastUpdateTime=condition.lastTransitionTime,
            )
            return (*conditions.without(old, "ReplicaFailure"), copied)
    return conditions.without(old, "ReplicaFailure")
