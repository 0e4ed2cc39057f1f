"""The planner: what to do next for a pod. Pure: no clock, no IO, nothing is changed.

It looks at the pod, at what is there, and at what is remembered, and answers the steps that can
be taken now. Taking a step twice does no harm: a planner that crashed in between plans again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common.api import times
from common.api.types.core_v1 import Container, Pod
from node.kubelet import hooks, probing
from node.kubelet.memory import STABLE_SECONDS, Observed, PodMemory, restart_delay_seconds
from node.runtime.base import ContainerStatus

GRACE_AFTER_HOOK_SECONDS = 2


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
    """Send TERM or KILL. The first of a stop says why to people, by `message`."""

    status: ContainerStatus
    signal: str
    message: str = ""
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHook(Step):
    """Begin a lifecycle hook; a preStop hook begins the stop of its container."""

    status: ContainerStatus
    container: Container
    kind: hooks.HookKind
    message: str = ""
    restart: bool = False


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
    by_name = {container.name: container for container in pod.spec.containers}
    return [
        _stop_one(
            _Ending(status, by_name.get(status.name), why, f"Stopping container {status.name}"),
            memory,
            now,
            grace_end,
        )
        for status in running
    ]


class _Ending(NamedTuple):
    """A container that is to stop: why, and in which words people are told."""

    status: ContainerStatus
    container: Container | None
    why: str
    message: str
    restart: bool = False


def _stop_one(ending: _Ending, memory: PodMemory, now: datetime, kill_at: datetime) -> Step:
    """The preStop hook, TERM, then KILL at the end of the grace period.

    A hook that uses up the grace period leaves the process two seconds after its TERM.
    """
    status, why = ending.status, ending.why
    said: Any = {"message": ending.message, "restart": ending.restart}
    sent = memory.signalled.get(status.id, "")
    hook = memory.hooks.get((status.id, "preStop"))
    if not sent and ending.container and hooks.hook_of(ending.container, "preStop"):
        if hook is None and now < kill_at:
            container = ending.container
            return RunHook(reason=why, status=status, container=container, kind="preStop", **said)
        if hook == "running" and now < kill_at:
            return WaitUntil(reason="the preStop hook runs", time=kill_at)
    if not sent and (now < kill_at or hook is not None):
        return SignalContainer(reason=why, status=status, signal="TERM", **said)
    stop = memory.stops.get(status.id)
    if hook is not None and stop is not None and stop.term_at is not None:
        kill_at = max(kill_at, stop.term_at + timedelta(seconds=GRACE_AFTER_HOOK_SECONDS))
    if now < kill_at:
        return WaitUntil(reason="the container is stopping", time=kill_at)
    if sent != "KILL":
        return SignalContainer(reason="grace is over", status=status, signal="KILL", **said)
    return WaitUntil(reason="the container is killed", time=now + timedelta(seconds=1))


def _plan_running(
    pod: Pod, container: Container, status: ContainerStatus, memory: PodMemory, now: datetime
) -> list[Step]:
    """The postStart hook; and the end of a container that is sick or has been changed."""
    hook = memory.hooks.get((status.id, "postStart"))
    if hook is None and hooks.hook_of(container, "postStart"):
        why = "the container has been started"
        return [RunHook(reason=why, status=status, container=container, kind="postStart")]
    failed = next(
        (
            kind
            for kind in probing.FATAL_KINDS
            if probing.result(memory, status.id, kind) == "failure"
        ),
        None,
    )
    if hook != "failed" and failed is None and not _is_changed(container, status):
        return []
    stop = memory.stops.get(status.id)
    grace = probing.grace_seconds(pod, container, None if hook == "failed" else failed)
    kill_at = (stop.since if stop else now) + timedelta(seconds=grace)
    message = "FailedPostStartHook"
    if hook != "failed" and failed is None:
        message = f"Container {container.name} definition changed, will be restarted"
    elif hook != "failed":
        message = f"Container {container.name} failed {failed} probe"
        message += "" if pod.spec.restartPolicy == "Never" else ", will be restarted"
    return [_stop_one(_Ending(status, container, message, message, True), memory, now, kill_at)]


def _is_changed(container: Container, status: ContainerStatus) -> bool:
    """Whether a container was made from another image: the one thing of it that may change."""
    return status.asked_image not in ("", container.image)


def _plan_run(
    pod: Pod, observed: Observed, memory: PodMemory, now: datetime, volumes_version: str
) -> list[Step]:
    """Volumes, sandbox, init containers one by one, then the others side by side.

    What runs is looked after first: a volume that fails must not keep a sick container alive.
    """
    running = [
        step
        for container in pod.spec.containers
        if (status := probing.running(container, observed)) is not None
        for step in _plan_running(pod, container, status, memory, now)
    ]
    if any(not isinstance(step, WaitUntil) for step in running):
        return running
    preparations = _plan_preparations(observed, memory, now, volumes_version)
    if preparations:
        return [*running, *preparations]
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


def _plan_preparations(
    observed: Observed, memory: PodMemory, now: datetime, volumes_version: str
) -> list[Step]:
    """What containers need before they are made; empty when it is there."""
    failure = memory.failures.get("")
    if failure is not None and now < failure.retry_at:
        return [WaitUntil(reason=failure.message, time=failure.retry_at)]
    if memory.volumes_version != volumes_version or not memory.volumes_version:
        return [MakeVolumes(reason="volumes are not up to date")]
    if observed.sandbox is not None and observed.sandbox.ready:
        return []
    stale = [status for status in observed.all() if status.state == "running"]
    if stale:
        why = "its sandbox is gone"
        return [SignalContainer(reason=why, status=s, signal="KILL") for s in stale]
    return [MakeSandbox(reason="the pod has no sandbox")]


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
        return _plan_running(pod, container, latest, memory, now)
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
    """Whether a container that has ended runs again, by the pod's restart policy.

    One that was stopped for another image has not ended by itself: it runs again in any case.
    """
    stop = memory.stops.get(ended.id)
    if stop is not None and stop.restart and _is_changed(container, ended):
        return True
    failed = (
        ended.exit_code != 0 or ended.id in memory.start_failures or bool(stop and stop.restart)
    )
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
