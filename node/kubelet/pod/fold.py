"""Folds outcomes into what is observed and remembered of a pod: nothing else changes either.

Back-off after a failure is decided here, and which Events are recorded. No clock and no IO: the
same outcomes at the same moments always give the same memory.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple, assert_never

from common.api import times
from common.api.types.core_v1 import Pod
from node.kubelet.pod import hooks, imagepulls, lifecycle, outcomes, planner, probing, steps
from node.kubelet.pod.events import PodEvent, normal, warning
from node.kubelet.pod.memory import (
    BACKOFF,
    MESSAGE_MAX,
    REMOVAL_BACKOFF,
    RUNTIME_RETRY_SECONDS,
    STABLE_SECONDS,
    UNKNOWN_VERSION,
    Failure,
    Moment,
    Observed,
    PodMemory,
    Pull,
    StartFailure,
    Stop,
)
from node.kubelet.pod.outcomes import Outcome
from node.kubelet.pod.resources import eviction, resizefold
from node.kubelet.pod.restarting import has_finished
from node.runtime.base import ContainerStatus

log = logging.getLogger(__name__)
VANISHED_EXIT_CODE = 137
VANISHED_MESSAGE = "The container's process has gone, and its exit code with its monitor"
RETRIED_WHEN_CHANGED = ("FailedMount", "CreateContainerConfigError")
"""Failures that a change of the pod, or of what it references, may resolve."""


class _At(NamedTuple):
    """The pod, what an outcome is folded into, and the time."""

    pod: Pod
    observed: Observed
    memory: PodMemory
    now: Moment


def fold(
    outcome: Outcome, pod: Pod, observed: Observed, memory: PodMemory, now: Moment
) -> list[PodEvent]:
    """Change `observed` and `memory` by an outcome; answers the Events to record."""
    at = _At(pod, observed, memory, now)
    if isinstance(outcome, outcomes.OF_CONTAINER) and not observed.of(outcome.container_id):
        return []
    if isinstance(outcome, outcomes.Begun):
        return _begun(outcome.step, at)
    if isinstance(outcome, outcomes.ImageOutcome):
        return _image(outcome, at)
    if isinstance(outcome, outcomes.ContainerOutcome):
        return _container(outcome, at)
    if isinstance(outcome, outcomes.Resize):
        return resizefold.fold(outcome, pod, memory, now.monotonic)
    if isinstance(outcome, outcomes.Observation):
        return _observation(outcome, at)
    if isinstance(outcome, outcomes.Preparation):
        return _preparation(outcome, at)
    if isinstance(outcome, outcomes.Removal):
        return _removal(outcome, at)
    return _notice(outcome, at)


def _begun(step: steps.Step, at: _At) -> list[PodEvent]:
    """What is remembered before a step is taken, also if its result never becomes known."""
    memory = at.memory
    match step:
        case steps.InspectImage():
            memory.pulls[step.container.name] = Pull(step.container.image)
        case steps.PullImage():
            image = step.container.image
            memory.pulls[step.container.name] = Pull(image)
            return [normal(step.container.name, "Pulling", f'Pulling image "{image}"')]
        case steps.SignalContainer():
            return _stop_begun(step, at)
        case steps.RunHook():
            return _hook_begun(step, at)
        case steps.MeasureVolumes():
            memory.measuring = True
        case steps.FailPod():
            memory.failed, memory.refused = (step.failure, step.message), step.refused
            if step.grace_seconds is not None:
                memory.kill_at = at.now.monotonic + step.grace_seconds
            return [PodEvent("", step.event, step.failure, step.message)]
    return []


def _hook_begun(step: steps.RunHook, at: _At) -> list[PodEvent]:
    if at.observed.of(step.status.id) is None:  # removed since the step was planned
        return []
    key = (step.status.id, step.kind)
    at.memory.hooks[key] = "running"
    at.memory.hook_retries.pop(key, None)
    return _stop_begun(step, at) if step.kind == "preStop" else []


def _stop_begun(step: steps.SignalContainer | steps.RunHook, at: _At) -> list[PodEvent]:
    """A stop begins with its first step, which alone records the Killing event."""
    status = step.status
    if status.id in at.memory.stops or at.observed.of(status.id) is None:
        return []
    at.memory.stops[status.id] = Stop(since=at.now.monotonic, restart=step.restart)
    return [normal(status.name, "Killing", step.message)] if step.message else []


def _image(outcome: outcomes.ImageOutcome, at: _At) -> list[PodEvent]:
    memory, name = at.memory, outcome.container.name
    memory.pulls.pop(name, None)
    match outcome:
        case outcomes.ImageInspected():
            return imagepulls.inspected(outcome, memory, at.now)
        case outcomes.ImageNameInvalid():
            return imagepulls.name_invalid(outcome, memory, at.now)
        case outcomes.ImagePulled():
            return imagepulls.pulled(outcome, memory)
        case outcomes.ImagePullFailed():
            return imagepulls.pull_failed(outcome, memory, at.now)
        case outcomes.ImageUnknown():
            retry_at = at.now.monotonic + RUNTIME_RETRY_SECONDS
            memory.pulls[name] = Pull(outcome.container.image, retry_at)
            memory.images.pop(name, None)
        case outcomes.ImageMissing():
            memory.images.pop(name, None)
        case _:
            assert_never(outcome)
    return []


def _container(outcome: outcomes.ContainerOutcome, at: _At) -> list[PodEvent]:
    memory, now = at.memory, at.now
    match outcome:
        case outcomes.ContainerCreated():
            memory.failures.pop(outcome.name, None)
            return [normal(outcome.name, "Created", "Container created")]
        case outcomes.ContainerNotCreated():
            one = outcome.container
            memory.fail(one.name, outcome.reason, outcome.message, now.monotonic, image=one.image)
            return [warning(one.name, "Failed", f"Error: {outcome.message}")]
        case outcomes.ContainerStarted():
            memory.failures.pop(outcome.name, None)
            return [normal(outcome.name, "Started", "Container started")]
        case outcomes.ContainerNotStarted():
            failure = StartFailure(outcome.message, now.wall)
            memory.start_failures[outcome.container_id] = failure
            memory.ended[outcome.container_id] = now.monotonic
            return [warning(outcome.name, "Failed", f"Error: {outcome.message}")]
        case outcomes.ContainerSignalled():
            memory.signalled[outcome.container_id] = outcome.signal
            stop = memory.stops.get(outcome.container_id)
            if stop is not None and stop.term_at is None:
                stop.term_at = now.monotonic
        case outcomes.ContainerRemoved():
            _forget(outcome.container_id, at)
        case outcomes.HookEnded():
            return _hook_ended(outcome, at)
        case _:
            assert_never(outcome)
    return []


def _hook_ended(outcome: outcomes.HookEnded, at: _At) -> list[PodEvent]:
    """Kubernetes calls a hook at least once: again when the runtime did not answer."""
    key = (outcome.container_id, outcome.kind)
    if outcome.result == "unknown":
        at.memory.hooks.pop(key, None)
        at.memory.hook_retries[key] = at.now.monotonic + RUNTIME_RETRY_SECONDS
        return []
    at.memory.hooks[key] = outcome.result
    if outcome.result == "done":
        return []
    title = "PostStartHook" if outcome.kind == "postStart" else "PreStopHook"
    return [warning(outcome.name, f"Failed{title}", f"{title} failed")]


def _observation(outcome: outcomes.Observation, at: _At) -> list[PodEvent]:
    observed, memory = at.observed, at.memory
    match outcome:
        case outcomes.ContainerSeen():
            if outcome.status is None:
                _forget(outcome.container_id, at)
            else:
                _observe(outcome.status, at, observed.of(outcome.container_id))
        case outcomes.ContainerVanished():
            if status := observed.of(outcome.container_id):
                memory.vanished[status.id] = times.to_time(at.now.wall)
                memory.messages[status.id] = VANISHED_MESSAGE
                _observe(status, at, status)
        case outcomes.MessageRead():
            memory.messages[outcome.container_id] = outcome.message
        case outcomes.ProbeAnswered():
            state = memory.probes.get(outcome.key)
            if state is not None:
                after = probing.take(state, outcome.probe, success=outcome.success)
                memory.probes[outcome.key] = after
        case outcomes.Relisted():
            before = {status.id: status for status in observed.all()}
            observed.sandbox = outcome.sandbox
            observed.containers.clear()
            for status in outcome.containers:
                _observe(status, at, before.pop(status.id, None))
            for container_id in before:  # removed by somebody else
                _forget(container_id, at)
            if outcome.sandbox is not None and outcome.sandbox.address:
                memory.address = outcome.sandbox.address
        case _:
            assert_never(outcome)
    return []


def _forget(container_id: str, at: _At) -> None:
    """Drop a container that is gone, and what is known by its id."""
    at.observed.drop(container_id)
    at.memory.forget(container_id)


def _observe(status: ContainerStatus, at: _At, before: ContainerStatus | None) -> None:
    """Take in the state of a container.

    One whose process has vanished with its monitor stays exited, though the runtime still has it
    as running.
    """
    vanished_at = at.memory.vanished.get(status.id)
    if vanished_at is not None and status.state == "running":
        status = replace(
            status, state="exited", pid=0, exit_code=VANISHED_EXIT_CODE, finished_at=vanished_at
        )
    if status.lost:
        status = replace(status, finished_at=_ended_with_machine(status, at))
    if change := lifecycle.illegal_transition(before, status):
        extra = {"object": f"{status.pod_namespace}/{status.pod_name}", "error": change}
        log.error("a container has changed its state as it never should", extra=extra)
    _note_times(status, at)
    at.observed.put(status)


def _note_times(status: ContainerStatus, at: _At) -> None:
    """Note on the monotonic clock when an attempt began and ended; a long run resets the back-off.

    The runtime's stamps are of the wall clock. Each is compared with it once, when it is first
    seen: mostly at once, and after a restart of the kubelet perhaps long after. Back-off and stable
    run do not change when the wall clock is set later.
    """
    memory, now = at.memory, at.now
    if status.state == "running":
        age = max(0.0, times.age_seconds(status.started_at, now.wall))
        memory.began.setdefault(status.id, now.monotonic - age)
        memory.ended.pop(status.id, None)
    elif status.state in ("exited", "unknown") and status.id not in memory.ended:
        age = times.age_seconds(status.finished_at, now.wall)
        if age < 0:  # the clock was set back since. The age is unknown: do not wait.
            age = BACKOFF.cap_seconds
        end = now.monotonic - age
        if status.started_at and status.finished_at:
            ran = times.parse(status.finished_at) - times.parse(status.started_at)
            memory.began.setdefault(status.id, end - max(0.0, ran.total_seconds()))
        memory.ended[status.id] = max(end, memory.began.get(status.id, end))
        if memory.run_seconds(status.id) >= STABLE_SECONDS:
            stable_from = memory.stable_from.get(status.name, 0)
            memory.stable_from[status.name] = max(stable_from, status.attempt)


def _ended_with_machine(status: ContainerStatus, at: _At) -> str:
    """When a container was first seen that a reboot has ended: nobody knows a better finishedAt.

    Never before its start: the machine's clock may have been set back since.
    """
    now = at.now.wall
    if status.started_at:
        now = max(now, times.parse(status.started_at))
    return at.memory.ended_with_machine.setdefault(status.id, times.to_time(now))


def _preparation(outcome: outcomes.Preparation, at: _At) -> list[PodEvent]:
    memory, now = at.memory, at.now
    match outcome:
        case outcomes.AddressTaken():
            memory.address = outcome.address
        case outcomes.VolumesMade():
            memory.failures.pop("", None)
            memory.volumes_version, memory.volumes_made = outcome.version, True
        case outcomes.VolumesFailed():
            return _preparation_failed("FailedMount", outcome.message, at)
        case outcomes.VolumesMeasured():
            memory.volume_bytes.update(outcome.bytes_used)
            memory.container_bytes.update(outcome.by_containers)
            memory.measuring = False
            memory.measure_at = now.monotonic + eviction.pause_seconds(outcome.took_seconds)
        case outcomes.SandboxMade():
            memory.failures.pop("", None)
            memory.address = outcome.sandbox.address
            memory.of_former_sandbox = {status.id for status in at.observed.all()}
            at.observed.sandbox = outcome.sandbox
        case outcomes.SandboxFailed():
            text = f"Failed to create pod sandbox: {outcome.message}"
            return _preparation_failed("FailedCreatePodSandBox", text, at)
        case _:
            assert_never(outcome)
    return []


def _preparation_failed(reason: str, message: str, at: _At) -> list[PodEvent]:
    at.memory.fail("", reason, message, at.now.monotonic)
    return [warning("", reason, message)]


def _removal(outcome: outcomes.Removal, at: _At) -> list[PodEvent]:
    memory = at.memory
    if isinstance(outcome, outcomes.RemovalFailed):
        former, text = memory.removal_failure, f"error killing pod: {outcome.message}"
        count = 1 if former is None else former.count + 1
        retry_at = at.now.monotonic + REMOVAL_BACKOFF.delay_seconds(count)
        memory.removal_failure = Failure("FailedKillPod", text[:MESSAGE_MAX], count, retry_at)
        return [warning("", "FailedKillPod", text)]
    memory.removal_failure = None
    if isinstance(outcome, outcomes.FilesRemoved):
        memory.files_removed = not outcome.files_left
        return []
    at.observed.sandbox = None
    if outcome.volumes_left:
        memory.volumes_version = memory.volumes_version or UNKNOWN_VERSION
    else:  # another pod may have the address now
        memory.volumes_version = memory.address = ""
        memory.volumes_made = False
    return []


def _notice(outcome: outcomes.Notice, at: _At) -> list[PodEvent]:
    pod, memory, monotonic = at.pod, at.memory, at.now.monotonic
    match outcome:
        case outcomes.RoundBegun():
            if planner.is_ending(pod, memory) or has_finished(pod, at.observed, memory):
                memory.kill_at = planner.kill_at(pod, memory, monotonic)
            elif not memory.halting:
                memory.kill_at = None  # an app container that somebody has removed runs again
            hooks.adopt(pod, at.observed, memory)
            probing.adopt(pod, at.observed, memory)
            return resizefold.completed(pod, at.observed, memory)
        case outcomes.WorkCancelled():
            memory.pulls.clear()
            memory.measuring = False
        case outcomes.PodAssigned():
            memory.removal_failure = None
            for name, failure in list(memory.failures.items()):
                if failure.reason in RETRIED_WHEN_CHANGED:
                    del memory.failures[name]
        case outcomes.PodUnassigned():
            memory.removal_failure = None
            memory.unassigned = True
        case outcomes.MachineHalting():
            memory.removal_failure = None
            memory.halting = True
            end = planner.kill_at(pod, memory, monotonic)
            memory.kill_at = min(end, monotonic + outcome.seconds)
        case _:
            assert_never(outcome)
    return []
