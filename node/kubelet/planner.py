"""The planner: what to do next for a pod. Pure: no clock, no IO, nothing is changed.

It looks at the pod, at what is there, and at what is remembered, and answers the steps that can
be taken now. Taking a step twice does no harm: a planner that crashed in between plans again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.api import times
from common.api.types.core_v1 import Container, Pod
from node.kubelet.memory import STABLE_SECONDS, Observed, PodMemory, restart_delay_seconds
from node.runtime.base import ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do for a pod, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeVolumes(Step):
    """Make the pod's volumes, or bring them up to date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSandbox(Step):
    """Make the namespaces that the containers join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImage(Step):
    """See that a container's image is here, by its pull policy."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer(Step):
    """Make an attempt of a container."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer(Step):
    """Start the process of a container that has been made."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalContainer(Step):
    """Send TERM or KILL."""

    status: ContainerStatus
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer(Step):
    """Remove a container that has ended."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox(Step):
    """Remove the namespaces and the volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGone(Step):
    """Nothing is left: tell the master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPod(Step):
    """End the pod as Failed."""

    failure: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil(Step):
    """Nothing to do before that time, unless something changes."""

    time: datetime


def plan(
    pod: Pod, observed: Observed, memory: PodMemory, now: datetime, *, volumes_version: str = ""
) -> Sequence[Step]:
    """The steps that can be taken now, in order; empty when all is as it should be."""
    if pod.metadata.deletionTimestamp or memory.removed_at:
        return _plan_end(pod, observed, memory, now)
    if pod.status.phase in ("Succeeded", "Failed") or memory.failed:
        return _stop(pod, observed, memory, now, _grace_end(pod, memory, now), "the pod has ended")
    deadline = _deadline(pod, memory)
    if deadline is not None and now >= deadline:
        return [
            FailPod(
                reason="activeDeadlineSeconds has passed",
                failure="DeadlineExceeded",
                message="Pod was active on the node longer than the specified deadline",
            )
        ]
    steps = _plan_run(pod, observed, memory, now, volumes_version)
    if deadline is not None:
        steps = [*steps, WaitUntil(reason="activeDeadlineSeconds", time=deadline)]
    return steps


def _deadline(pod: Pod, memory: PodMemory) -> datetime | None:
    seconds = pod.spec.activeDeadlineSeconds
    if seconds is None:
        return None
    start = times.parse(pod.status.startTime) if pod.status.startTime else memory.started_at
    return start + timedelta(seconds=seconds)


def _plan_end(pod: Pod, observed: Observed, memory: PodMemory, now: datetime) -> list[Step]:
    """Stop what runs, then remove everything, then say so."""
    why = "the pod is deleted"
    steps = _stop(pod, observed, memory, now, _grace_end(pod, memory, now), why)
    if steps:
        return steps
    removals: list[Step] = [RemoveContainer(reason=why, status=s) for s in observed.all()]
    if removals:
        return removals
    if observed.sandbox is not None or memory.volumes_version:
        return [RemoveSandbox(reason=why)]
    return [ReportGone(reason=why)]


def _grace_end(pod: Pod, memory: PodMemory, now: datetime) -> datetime:
    """When TERM has had its time. A deletion timestamp is the end of the grace period."""
    if pod.metadata.deletionTimestamp:
        return times.parse(pod.metadata.deletionTimestamp)
    grace = pod.spec.terminationGracePeriodSeconds
    since = memory.removed_at or memory.stopping_since or now
    return since + timedelta(seconds=30 if grace is None else grace)


def _stop(
    pod: Pod,
    observed: Observed,
    memory: PodMemory,
    now: datetime,
    grace_end: datetime,
    why: str,
) -> list[Step]:
    """TERM, then KILL at the end of the grace period. Empty when nothing runs."""
    running = [status for status in observed.all() if status.state == "running"]
    steps: list[Step] = []
    for status in running:
        sent = memory.signalled.get(status.id, "")
        if now >= grace_end:
            if sent != "KILL":
                steps.append(SignalContainer(reason="grace is over", status=status, signal="KILL"))
        elif not sent:
            steps.append(SignalContainer(reason=why, status=status, signal="TERM"))
    if running and not steps:
        again = grace_end if now < grace_end else now + timedelta(seconds=1)
        steps.append(WaitUntil(reason="containers are stopping", time=again))
    return steps


def _plan_run(
    pod: Pod, observed: Observed, memory: PodMemory, now: datetime, volumes_version: str
) -> list[Step]:
    """Volumes, sandbox, init containers one by one, then the others side by side."""
    failure = memory.failures.get("")
    if failure is not None and now < failure.retry_at:
        return [WaitUntil(reason=failure.message, time=failure.retry_at)]
    if memory.volumes_version != volumes_version or not memory.volumes_version:
        return [MakeVolumes(reason="volumes are not up to date")]
    if observed.sandbox is None or not observed.sandbox.ready:
        stale = [status for status in observed.all() if status.state == "running"]
        if stale:
            why = "its sandbox is gone"
            return [SignalContainer(reason=why, status=s, signal="KILL") for s in stale]
        return [MakeSandbox(reason="the pod has no sandbox")]
    for container in pod.spec.initContainers:
        latest = observed.latest(container.name)
        if latest is not None and latest.state == "exited" and latest.exit_code == 0:
            continue
        if latest is None and _any_started(pod, observed):
            continue
        return _plan_container(pod, container, observed, memory, now)
    return [
        step
        for container in pod.spec.containers
        for step in _plan_container(pod, container, observed, memory, now)
    ]


def _any_started(pod: Pod, observed: Observed) -> bool:
    """Whether the app containers have begun, so that init containers are over."""
    return any(observed.latest(container.name) for container in pod.spec.containers)


def _plan_container(
    pod: Pod, container: Container, observed: Observed, memory: PodMemory, now: datetime
) -> list[Step]:
    """What one container needs now."""
    latest = observed.latest(container.name)
    if latest is None:
        return _plan_attempt(container, 0, memory, now)
    if latest.state == "running":
        return []
    if latest.state == "created" and latest.id not in memory.start_failures:
        return [StartContainer(reason="made, not started", status=latest)]
    if not restarts(pod, container, latest, memory):
        return []
    due = restart_due(latest, memory)
    if now < due:
        return [WaitUntil(reason="back-off", time=due)]
    old = observed.containers[container.name][:-1]
    removals: list[Step] = [RemoveContainer(reason="older attempt", status=s) for s in old]
    return removals or _plan_attempt(container, latest.attempt + 1, memory, now)


def _plan_attempt(
    container: Container, attempt: int, memory: PodMemory, now: datetime
) -> list[Step]:
    """Image, then container."""
    failure = memory.failures.get(container.name)
    if failure is not None and now < failure.retry_at:
        return [WaitUntil(reason=failure.message, time=failure.retry_at)]
    why = f"attempt {attempt} of container {container.name}"
    if (container.name, attempt) not in memory.images:
        return [EnsureImage(reason=why, container=container, attempt=attempt)]
    return [CreateContainer(reason=why, container=container, attempt=attempt)]


def restarts(pod: Pod, container: Container, ended: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a container that has ended runs again, by the pod's restart policy."""
    failed = ended.exit_code != 0 or ended.id in memory.start_failures
    is_init = any(c.name == container.name for c in pod.spec.initContainers)
    if is_init:
        return failed and pod.spec.restartPolicy != "Never"
    return pod.spec.restartPolicy == "Always" or (pod.spec.restartPolicy == "OnFailure" and failed)


def restart_due(ended: ContainerStatus, memory: PodMemory) -> datetime:
    """When the next attempt may start."""
    wait = timedelta(seconds=restart_wait_seconds(ended, memory))
    return _end_of(ended, memory) + wait


def restart_wait_seconds(ended: ContainerStatus, memory: PodMemory) -> int:
    """How long the next attempt waits in all; a run of ten minutes ends the back-off."""
    finished = _end_of(ended, memory)
    started = times.parse(ended.started_at) if ended.started_at else finished
    stable_from = memory.stable_from.get(ended.name, 0)
    if (finished - started).total_seconds() >= STABLE_SECONDS:
        stable_from = ended.attempt
    return restart_delay_seconds(ended.attempt, stable_from)


def _end_of(ended: ContainerStatus, memory: PodMemory) -> datetime:
    """When an attempt has ended; one that never started ended when its start failed."""
    failure = memory.start_failures.get(ended.id)
    if failure is not None:
        return failure.at
    return times.parse(ended.finished_at) if ended.finished_at else memory.started_at
