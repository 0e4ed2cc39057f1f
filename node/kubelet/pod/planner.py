"""The planner: what to do next for a pod. Pure: no clock, no IO, nothing is changed.

Time is the monotonic clock's, in seconds: nothing here follows a wall clock that is set.
It looks at the pod, at what is there, and at what is remembered, and answers the steps that can
be taken now. Taking a step twice does no harm: a planner that crashed in between plans again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from common.api import times
from common.api.types.core_v1 import Container, Pod
from node.kubelet.pod import hooks, probing
from node.kubelet.pod.ephemeral import (
    ephemeral_containers,
    has_run,
    is_ephemeral,
    target,
    target_of,
)
from node.kubelet.pod.memory import Observed, PodMemory
from node.kubelet.pod.resources import eviction, resizing
from node.kubelet.pod.restarting import (
    asks_for_all,
    back_off_seconds,
    has_ended,
    has_finished,
    has_succeeded,
    is_changed,
    policy_of,
    restarts,
)
from node.kubelet.pod.sidecars import is_sidecar, long_running, may_stop
from node.kubelet.pod.steps import (
    CreateContainer,
    FailPod,
    InspectImage,
    MakeSandbox,
    MakeVolumes,
    MeasureVolumes,
    PullImage,
    RemoveContainer,
    RemoveFiles,
    RemoveSandbox,
    ReportGone,
    RunHook,
    SignalContainer,
    StartContainer,
    Step,
    TakeAddress,
    Wait,
)
from node.runtime.base import ContainerStatus

GRACE_SECONDS = 30
MINIMUM_GRACE_SECONDS = 2
"""Between the stop signal and KILL, however short the grace period: as in Kubernetes' kubelet."""
_HOOK_RETRY = "the runtime did not answer for a hook"


class Refusal(NamedTuple):
    """Why a machine does not take a pod: reason and message."""

    reason: str
    message: str


def plan(
    pod: Pod,
    observed: Observed,
    memory: PodMemory,
    monotonic: float,
    *,
    volumes_version: str = "",
    refusal: Refusal | None = None,
) -> Sequence[Step]:
    """The steps that can be taken now, in order; empty when all is as it should be.

    `refusal`: why this machine does not take the pod; it runs on where it has been taken before.
    """
    if pod.metadata.deletionTimestamp or memory.unassigned:
        return _plan_end(pod, observed, memory, monotonic)
    if is_ending(pod, memory):
        why = "the pod has ended"
        steps = _stop(pod, observed, memory, monotonic, why)
        return steps or _plan_tear_down(observed, memory, monotonic, why)
    if memory.halting:
        return _stop(pod, observed, memory, monotonic, "the machine goes down")
    if refusal is not None and observed.sandbox is None and not observed.containers:
        return [
            FailPod(
                reason="the pod is refused",
                failure=refusal.reason,
                message=f"Pod was rejected: {refusal.message}",
                event="Warning",
                refused=True,
            )
        ]
    deadline = _deadline(pod, memory)
    if deadline is not None and monotonic >= deadline:
        return [
            FailPod(
                reason="activeDeadlineSeconds has passed",
                failure="DeadlineExceeded",
                message="Pod was active on the node longer than the specified deadline",
            )
        ]
    if message := eviction.exceeded(pod, memory.volume_bytes, memory.container_bytes):
        return [
            FailPod(
                reason="the pod takes more of the disk than it may",
                failure=eviction.REASON,
                message=message,
                event="Warning",
                grace_seconds=eviction.GRACE_SECONDS,
            )
        ]
    if allocation := resizing.plan_allocation(pod, memory):
        return allocation
    if sources := asks_for_all(pod, observed, memory):
        return _plan_restart_of_all(pod, sources, observed, memory, monotonic)
    if has_finished(pod, observed, memory):
        return _stop(pod, observed, memory, monotonic, "the app containers have ended")
    held = resizing.allocated(pod, memory)
    steps = _plan_run(held, observed, memory, monotonic, volumes_version)
    steps = [*steps, *_plan_measuring(pod, observed, memory, monotonic)]
    if deadline is not None:
        left = deadline - monotonic
        steps = [*steps, Wait(reason="activeDeadlineSeconds", seconds=left)]
    return steps


def is_ending(pod: Pod, memory: PodMemory) -> bool:
    """Whether a pod is being stopped or has ended: no container of it is started any more."""
    over = pod.status.phase in ("Succeeded", "Failed") or memory.failed
    return bool(over or pod.metadata.deletionTimestamp or memory.unassigned)


def kill_at(pod: Pod, memory: PodMemory, monotonic: float) -> float:
    """When the grace period of an ending pod is over, if this kubelet sees its end at `monotonic`.

    It does not begin at deletionTimestamp: that is of another machine's clock, and may have passed
    while no kubelet ran. A second deletion can shorten the period only.
    """
    grace = pod.spec.terminationGracePeriodSeconds
    if pod.metadata.deletionTimestamp and pod.metadata.deletionGracePeriodSeconds is not None:
        grace = pod.metadata.deletionGracePeriodSeconds
    # At least a second, so that preStop hooks are called: as Kubernetes does.
    end = monotonic + (GRACE_SECONDS if grace is None else max(1, grace))
    return end if memory.kill_at is None else min(memory.kill_at, end)


def _deadline(pod: Pod, memory: PodMemory) -> float | None:
    """When activeDeadlineSeconds have passed, on the monotonic clock.

    startTime is compared once with the wall clock, as it was when this kubelet first heard of the
    pod: a later setting of the clock changes nothing. One in the future counts as that moment,
    for anybody may write a status.
    """
    seconds, seen = pod.spec.activeDeadlineSeconds, memory.started_at
    if seconds is None:
        return None
    start = times.parse(pod.status.startTime) if pod.status.startTime else seen.wall
    return seen.monotonic - max(0.0, (seen.wall - start).total_seconds()) + seconds


def _plan_measuring(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float
) -> list[Step]:
    """Measure from time to time what has a limit of what it may take of the disk."""
    has_limits = eviction.limits(pod) or eviction.storage_limits(pod)
    if not memory.volumes_made or memory.measuring or not has_limits:
        return []
    left = memory.measure_at - monotonic
    if left > 0:
        return [Wait(reason="volumes are measured from time to time", seconds=left)]
    running = [status for status in observed.all() if status.state == "running"]
    measured = running if eviction.storage_limits(pod) else ()
    return [MeasureVolumes(reason="the pod has limits of disk", containers=measured)]


def _plan_end(pod: Pod, observed: Observed, memory: PodMemory, monotonic: float) -> list[Step]:
    """Stop what runs, then remove everything, then say so."""
    why = "the pod is deleted"
    # One kind of step after the other: a container is removed when none runs, the sandbox when
    # none is left. So every container has its network to the end, as preStop hooks need.
    steps = _stop(pod, observed, memory, monotonic, why)
    if steps:
        return steps
    removals: list[Step] = [RemoveContainer(reason=why, status=s) for s in observed.all()]
    if removals:
        return removals
    if steps := _plan_tear_down(observed, memory, monotonic, why):
        return steps
    if memory.files_removed:
        return [ReportGone(reason=why)]
    return _unless_refused(RemoveFiles(reason=why), memory, monotonic)


def _plan_tear_down(
    observed: Observed, memory: PodMemory, monotonic: float, why: str
) -> list[Step]:
    """Sandbox and volumes of a pod that has ended, which may stay in the API for long."""
    if observed.sandbox is None and not memory.volumes_version:
        return []
    return _unless_refused(RemoveSandbox(reason=why), memory, monotonic)


def _unless_refused(removal: Step, memory: PodMemory, monotonic: float) -> list[Step]:
    """A removal, or the wait after one that the machine has refused."""
    refusal = memory.removal_failure
    if refusal is not None and monotonic < refusal.retry_at:
        return [Wait(reason=refusal.message, seconds=refusal.retry_at - monotonic)]
    return [removal]


def _stop(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float, why: str
) -> list[Step]:
    """TERM, then KILL at the end of the grace period. Empty when nothing runs."""
    running = [status for status in observed.all() if status.state == "running"]
    names = {status.name for status in running}
    by_name = {container.name: container for container in long_running(pod)}
    return [
        _stop_one(
            _Ending(
                status,
                by_name.get(status.name),
                why,
                f"Stopping container {status.name}",
                waits=not may_stop(pod, status.name, names),
            ),
            memory,
            monotonic,
            kill_at(pod, memory, monotonic),
        )
        for status in running
    ]


def _plan_restart_of_all(
    pod: Pod,
    sources: Sequence[Container],
    observed: Observed,
    memory: PodMemory,
    monotonic: float,
) -> list[Step]:
    """Remove all containers but ephemeral ones: the pod begins anew in its sandbox, with its
    volumes.

    Those whose ends ask for it go last, and after their back-off: as long as they are there, a
    kubelet that has just started knows what goes on.
    """
    why = "all containers are restarted"
    own = [status for status in observed.all() if not is_ephemeral(pod, status.name)]
    running = [status for status in own if status.state == "running"]
    if running:
        # Nobody waits for hooks, or longer than TERM needs: as in Kubernetes.
        message = "Container {} is stopped: all containers are restarted"
        endings = [_Ending(s, None, why, message.format(s.name), restart=True) for s in running]
        return [_stop_one(ending, memory, monotonic, monotonic) for ending in endings]
    names = {source.name for source in sources}
    if targets := [status for status in own if status.name not in names]:
        return [RemoveContainer(reason=why, status=status) for status in targets]
    ends = [status for name in names if (status := observed.latest(name)) is not None]
    left = max(back_off_seconds(status, memory, monotonic) for status in ends)
    if left > 0:
        return [Wait(reason="back-off", seconds=left)]
    return [RemoveContainer(reason=why, status=status) for status in own]


class _Ending(NamedTuple):
    """A container that is to stop: why, and the message of its Killing event."""

    status: ContainerStatus
    container: Container | None
    """None when the pod no longer has it."""
    why: str
    message: str
    restart: bool = False
    waits: bool = False
    """Its stop signal waits for the end of the containers that it serves; its hook does not."""


def _stop_one(ending: _Ending, memory: PodMemory, monotonic: float, end: float) -> Step:
    """The next step of a stop: the preStop hook, the stop signal, KILL after the grace period.

    The stop signal is always sent, and KILL follows two seconds later at the earliest: also when
    the hook has used up the grace period, and when there is none.
    """
    status, why = ending.status, ending.why
    said: Any = {"message": ending.message, "restart": ending.restart}
    sent = memory.signalled.get(status.id, "")
    hook = memory.hooks.get((status.id, "preStop"))
    if not sent and ending.container and hooks.hook_of(ending.container, "preStop"):
        retry_at = memory.hook_retries.get((status.id, "preStop"), monotonic)
        if hook is None and retry_at <= monotonic < end:
            container = ending.container
            return RunHook(reason=why, status=status, container=container, kind="preStop", **said)
        if hook is None and monotonic < end:
            return Wait(reason=_HOOK_RETRY, seconds=min(retry_at, end) - monotonic)
        if hook == "running" and monotonic < end:
            return Wait(reason="the preStop hook runs", seconds=end - monotonic)
    if not sent and ending.waits and monotonic < end:
        return Wait(reason="sidecars stop after the others", seconds=end - monotonic)
    if not sent:
        return SignalContainer(reason=why, status=status, signal=status.stop_signal, **said)
    stop = memory.stops.get(status.id)
    if stop is not None and stop.term_at is not None:
        end = max(end, stop.term_at + MINIMUM_GRACE_SECONDS)
    if monotonic < end:
        return Wait(reason="the container is stopping", seconds=end - monotonic)
    if sent != "KILL":
        return SignalContainer(reason="grace is over", status=status, signal="KILL", **said)
    return Wait(reason="the container is killed", seconds=1)


def _plan_running(
    pod: Pod, container: Container, status: ContainerStatus, memory: PodMemory, monotonic: float
) -> list[Step]:
    """The postStart hook; the stop of a container that failed a probe or has another image."""
    hook = memory.hooks.get((status.id, "postStart"))
    if hook is None and hooks.hook_of(container, "postStart"):
        left = memory.hook_retries.get((status.id, "postStart"), monotonic) - monotonic
        if left > 0:
            return [Wait(reason=_HOOK_RETRY, seconds=left)]
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
    if hook != "failed" and failed is None and not is_changed(container, status):
        return []
    stop = memory.stops.get(status.id)
    grace = probing.grace_seconds(pod, container, None if hook == "failed" else failed)
    end = (stop.since if stop else monotonic) + grace
    sidecar = is_sidecar(pod, container.name)
    message = f"{'Init container' if sidecar else 'Container'} {container.name} "
    if hook == "failed":
        message = "FailedPostStartHook"
    elif failed is not None:
        message += f"failed {failed} probe"
        message += "" if sidecar or policy_of(pod, container) == "Never" else ", will be restarted"
    elif resizing.needs_restart(container, status):
        message += "resize requires restart"
    else:
        message += "definition changed" + ("" if sidecar else ", will be restarted")
    return [_stop_one(_Ending(status, container, message, message, True), memory, monotonic, end)]


def _plan_run(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float, volumes_version: str
) -> list[Step]:
    """Volumes, sandbox, then the containers.

    Running containers come first: a volume that fails must not keep an unhealthy one alive.
    """
    running = [
        step
        for container in long_running(pod)
        if (status := probing.running(container, observed)) is not None
        for step in _plan_running(pod, container, status, memory, monotonic)
    ]
    resizes = resizing.plan_limits(pod, observed, memory, monotonic)
    running += resizes
    if any(not isinstance(step, Wait) for step in running):
        return running
    preparations = _plan_preparations(pod, observed, memory, monotonic, volumes_version)
    containers = _plan_containers(pod, observed, memory, monotonic)
    if preparations and not _is_prepared(observed, memory, preparations):
        images = [step for step in containers if isinstance(step, InspectImage | PullImage)]
        # Images are pulled while the sandbox is made, but not before the volumes are: a pod whose
        # ConfigMap is missing pulls nothing.
        early = images if isinstance(preparations[0], MakeSandbox) else []
        return [*running, *early, *preparations]
    ephemeral = _plan_ephemeral(pod, observed, memory, monotonic)
    return [*preparations, *ephemeral, *containers, *resizes]


def _plan_containers(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float
) -> list[Step]:
    """Init containers one by one, then the app containers, those with postStart hooks in order."""
    steps, initialised = _plan_init(pod, observed, memory, monotonic)
    if not initialised:
        return steps
    held = False
    for container in pod.spec.containers:
        planned = _plan_container(pod, container, observed, memory, monotonic)
        steps += [step for step in planned if not (held and isinstance(step, _BEGINNINGS))]
        held = held or _holds_up_others(container, observed, memory, planned)
    return steps


_BEGINNINGS = (CreateContainer, StartContainer)


def _plan_init(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float
) -> tuple[list[Step], bool]:
    """What init containers need, and whether the app containers may begin.

    One begins when the one before has succeeded, or has started if it is a sidecar. A sidecar that
    ends later is restarted, and holds up nothing any more. In a new sandbox all of them run again:
    what they had set up went with the old one.
    """
    steps: list[Step] = []
    reached = _reached(pod, observed, memory)
    for number, container in enumerate(pod.spec.initContainers):
        latest = observed.latest(container.name)
        passed = number < reached
        if container.restartPolicy == "Always":
            steps += _plan_container(pod, container, observed, memory, monotonic)
            running = probing.running(container, observed)
            started = running is not None and probing.is_started(container, running, memory)
            if not (passed or started):
                return steps, False
        elif not (latest is None and passed) and not (latest and _is_done(latest, memory)):
            return [*steps, *_plan_container(pod, container, observed, memory, monotonic)], False
    return steps, True


def _reached(pod: Pod, observed: Observed, memory: PodMemory) -> int:
    """The number of the last init container that has begun in the present sandbox.

    Those before it have been passed; all are once app containers exist.
    """
    if any_started(pod, observed, memory):
        return len(pod.spec.initContainers)
    begun = [
        number
        for number, container in enumerate(pod.spec.initContainers)
        if (latest := observed.latest(container.name)) is not None
        and latest.id not in memory.of_former_sandbox
    ]
    return max(begun, default=0)


def _holds_up_others(
    container: Container, observed: Observed, memory: PodMemory, planned: Sequence[Step]
) -> bool:
    """Whether the containers after this one wait for its postStart hook: one that runs or is next.

    Service meshes rely on that order (k/k#81450). A container that has failed or is in back-off
    holds up no other.
    """
    if hooks.hook_of(container, "postStart") is None:
        return False
    latest = observed.latest(container.name)
    if latest is not None and latest.state == "running":
        return memory.hooks.get((latest.id, "postStart")) not in ("done", "failed")
    pull = memory.pulls.get(container.name)
    pulling = pull is not None and pull.image == container.image
    return pulling or any(not isinstance(step, Wait) for step in planned)


def _plan_ephemeral(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float
) -> list[Step]:
    """Ephemeral containers run once, beside whatever else goes on in the pod."""
    planned: list[Step] = []
    for container in ephemeral_containers(pod):
        latest, joined = observed.latest(container.name), target(pod, container.name, observed)
        if target_of(pod, container.name) and joined is None:
            continue
        if latest is None and not has_run(pod, container.name):
            steps = _plan_attempt(container, 0, memory, monotonic)
            planned += [_joining(step, joined) for step in steps]
        elif latest is not None and latest.state == "created" and not has_ended(latest, memory):
            if joined is not None and container.name not in memory.images:
                # Made by an earlier kubelet: the PID that it names may be another process's now.
                planned += [RemoveContainer(reason="made before a restart", status=latest)]
            else:
                planned += [StartContainer(reason="made, not started", status=latest)]
    return planned


def _joining(step: Step, joined: ContainerStatus | None) -> Step:
    """A step of a container that joins the PID namespace of another."""
    if joined is None or not isinstance(step, CreateContainer):
        return step
    return replace(step, joins_pid=joined.pid)


def _plan_preparations(
    pod: Pod, observed: Observed, memory: PodMemory, monotonic: float, volumes_version: str
) -> list[Step]:
    """What containers need before they are made; empty when it is there."""
    failure = memory.failures.get("")
    if failure is not None and monotonic < failure.retry_at:
        return [Wait(reason=failure.message, seconds=failure.retry_at - monotonic)]
    no_address = not (pod.spec.hostNetwork or memory.address)
    if memory.volumes_version != volumes_version or not memory.volumes_version:
        if no_address:
            return [TakeAddress(reason="volumes may hold the pod's address")]
        return [MakeVolumes(reason="volumes are not up to date")]
    if observed.sandbox is not None and observed.sandbox.ready:
        return []
    stale = [status for status in observed.all() if status.state == "running"]
    if stale:
        why = "its sandbox is gone"
        return [SignalContainer(reason=why, status=s, signal="KILL") for s in stale]
    if no_address:
        return [TakeAddress(reason="the sandbox needs an address")]
    return [MakeSandbox(reason="the pod has no sandbox")]


def _is_prepared(observed: Observed, memory: PodMemory, preparations: Sequence[Step]) -> bool:
    """Whether only an update of volumes waits: containers may start with the former content."""
    there = memory.volumes_made and observed.sandbox is not None and observed.sandbox.ready
    return there and all(isinstance(step, Wait) for step in preparations)


def _is_done(latest: ContainerStatus, memory: PodMemory) -> bool:
    """Whether an init container has done its work in the present sandbox."""
    return has_succeeded(latest) and latest.id not in memory.of_former_sandbox


def any_started(pod: Pod, observed: Observed, memory: PodMemory) -> bool:
    """Whether app containers exist in the present sandbox, so that init is over."""
    attempts = [observed.latest(container.name) for container in pod.spec.containers]
    return any(one is not None and one.id not in memory.of_former_sandbox for one in attempts)


def _plan_container(
    pod: Pod, container: Container, observed: Observed, memory: PodMemory, monotonic: float
) -> list[Step]:
    """What one container needs now."""
    latest = observed.latest(container.name)
    if latest is None:
        return _plan_attempt(container, _first_attempt(pod, container), memory, monotonic)
    if latest.state == "running":
        return _plan_running(pod, container, latest, memory, monotonic)
    if latest.state == "created" and latest.id not in memory.start_failures:
        return [StartContainer(reason="made, not started", status=latest)]
    if not restarts(pod, container, latest, memory):
        return []
    left = back_off_seconds(latest, memory, monotonic)
    if left > 0:
        return [Wait(reason="back-off", seconds=left)]
    old = observed.containers[container.name][:-1]
    removals: list[Step] = [RemoveContainer(reason="older attempt", status=s) for s in old]
    return removals or _plan_attempt(container, latest.attempt + 1, memory, monotonic)


def _first_attempt(pod: Pod, container: Container) -> int:
    """0, or the one after the last that was reported, where somebody has removed that container."""
    known = (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    counts = [s.restartCount + bool(s.containerID) for s in known if s.name == container.name]
    return max(counts, default=0)


def _plan_attempt(
    container: Container, attempt: int, memory: PodMemory, monotonic: float
) -> list[Step]:
    """What the next attempt needs: its image, then the container."""
    failure = memory.failure_of(container)
    if failure is not None and monotonic < failure.retry_at:
        return [Wait(reason=failure.message, seconds=failure.retry_at - monotonic)]
    why = f"attempt {attempt} of container {container.name}"
    checked = memory.images.get(container.name)
    if checked is not None and checked[:2] != (attempt, container.image):
        checked = None
    if checked is not None and checked.ready:
        user = checked.user
        return [CreateContainer(reason=why, container=container, attempt=attempt, image_user=user)]
    pull = memory.pulls.get(container.name)
    if pull is not None and pull.image == container.image:
        if pull.retry_at is None:
            return []
        if monotonic < pull.retry_at:
            seconds = pull.retry_at - monotonic
            return [Wait(reason="the runtime did not answer for an image", seconds=seconds)]
    if checked is None:
        return [InspectImage(reason=why, container=container, attempt=attempt)]
    return [PullImage(reason=why, container=container, attempt=attempt)]
