"""The status of a pod, from what is observed and remembered. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from common.api import conditions, times
from common.api.types import Time
from common.api.types.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    HostIP,
    Pod,
    PodIP,
    PodStatus,
)
from common.api.types.core_v1 import ContainerStatus as ApiStatus
from node.kubelet.pod import hooks, lifecycle, probing
from node.kubelet.pod.ephemeral import ephemeral_containers, has_run, target, target_of
from node.kubelet.pod.memory import Observed, PodMemory
from node.kubelet.pod.planner import any_started, is_ending
from node.kubelet.pod.podconditions import is_initialised, pod_conditions, was_initialised
from node.kubelet.pod.resources import resizing
from node.kubelet.pod.restarting import (
    asks_for_all,
    exit_code,
    has_ended,
    has_finished,
    restart_wait_seconds,
    restarts,
)
from node.kubelet.pod.sidecars import is_sidecar
from node.kubelet.spec.supported import Findings
from node.runtime.base import ID_SCHEME, ContainerStatus, uri

MESSAGES_MAX_BYTES = 12 << 10
"""Of the termination messages of all containers of a pod: each may use an equal share."""
LOST_REASON = "Unknown"
"""Of a container that a reboot has ended: containerd reports it so, with exit code 255."""


def pod_status(
    pod: Pod,
    observed: Observed,
    memory: PodMemory,
    now: datetime,
    *,
    host_address: str,
    findings: Findings = Findings(),  # noqa: B008 (immutable)
) -> PodStatus:
    """The whole status to report."""
    wanted, pod = pod, resizing.allocated(pod, memory)
    init = [_container_status(pod, c, observed, memory, findings) for c in pod.spec.initContainers]
    main = [_container_status(pod, c, observed, memory, findings) for c in pod.spec.containers]
    ephemeral = [
        _ephemeral_status(pod, c, observed, memory, findings) for c in ephemeral_containers(pod)
    ]
    initialised = (
        all(is_initialised(pod, one) for one in init)
        or any_started(pod, observed, memory)
        or (is_ending(pod, memory) and was_initialised(pod))
    )
    if memory.refused:
        init, main, ephemeral = [], [], []
    _shorten_messages([*init, *main, *ephemeral])
    _mark_initialising(init)
    if not initialised:
        _mark_initialising(main)
    status = PodStatus(
        observedGeneration=pod.metadata.generation,
        phase=_phase(pod, init, main, observed, memory, initialised=initialised),
        qosClass=pod.status.qosClass,
        startTime=pod.status.startTime or times.to_time(memory.started_at.wall),
        hostIP=host_address,
        hostIPs=(HostIP(ip=host_address),),
        initContainerStatuses=tuple(init),
        containerStatuses=tuple(main),
        ephemeralContainerStatuses=tuple(ephemeral),
    )
    address = host_address if pod.spec.hostNetwork else memory.address
    if address and observed.sandbox is not None:
        status.podIP, status.podIPs = address, (PodIP(ip=address),)
    elif is_ending(pod, memory):
        status.podIP, status.podIPs = pod.status.podIP, pod.status.podIPs
    if memory.failed and status.phase == "Failed":
        status.reason, status.message = memory.failed
    elif status.phase == pod.status.phase:
        status.reason, status.message = pod.status.reason, pod.status.message
    status.conditions = pod_conditions(pod, status, observed, memory, now, initialised=initialised)
    if not is_ending(pod, memory):
        for condition in resizing.resize_conditions(wanted, observed, memory):
            former = conditions.find(pod.status.conditions, condition.type)
            kept = former.lastTransitionTime if former is not None else None
            condition.lastTransitionTime = kept or times.to_time(now)
            status.conditions = (*status.conditions, condition)
    return status


def is_overwritten(found: PodStatus, reported: PodStatus) -> bool:
    """Whether somebody has overwritten the phase that was reported, and it must be reported again.

    Succeeded and Failed are left: whoever writes them means the pod to stop.
    """
    return found.phase not in (reported.phase, "Succeeded", "Failed")


def ended_with_machine(status: PodStatus) -> dict[str, str]:
    """Container id -> the finishedAt that was reported of one that a reboot has ended."""
    ends = [
        state.terminated
        for one in (
            *status.initContainerStatuses,
            *status.containerStatuses,
            *status.ephemeralContainerStatuses,
        )
        for state in (one.state, one.lastState)
        if state.terminated is not None and state.terminated.reason == LOST_REASON
    ]
    return {
        end.containerID.removeprefix(ID_SCHEME): end.finishedAt for end in ends if end.finishedAt
    }


def new_crash_loops(old: PodStatus | None, new: PodStatus) -> list[str]:
    """The containers that have gone into CrashLoopBackOff since the status before."""
    before = set() if old is None else _crash_loops(old)
    return [name for name, _ in sorted(_crash_loops(new) - before)]


def _crash_loops(status: PodStatus) -> set[tuple[str, str]]:
    """(name, id of the attempt that has ended) of the containers in CrashLoopBackOff."""
    return {
        (one.name, one.lastState.terminated.containerID)
        for one in (*status.initContainerStatuses, *status.containerStatuses)
        if one.state.waiting is not None and one.state.waiting.reason == "CrashLoopBackOff"
        if one.lastState.terminated is not None
    }


def _shorten_messages(statuses: list[ApiStatus]) -> None:
    """Cut termination messages to a container's share."""
    share = MESSAGES_MAX_BYTES // max(1, len(statuses))
    for status in statuses:
        for state in (status.state, status.lastState):
            if state.terminated is not None and len(state.terminated.message.encode()) > share:
                cut = state.terminated.message.encode()[:share]
                state.terminated.message = cut.decode("utf-8", "ignore")


def _mark_initialising(statuses: list[ApiStatus]) -> None:
    for status in statuses:
        waiting = status.state.waiting
        if waiting is not None and waiting.reason == "ContainerCreating":
            waiting.reason = "PodInitializing"


def _phase(
    pod: Pod,
    init: list[ApiStatus],
    main: list[ApiStatus],
    observed: Observed,
    memory: PodMemory,
    *,
    initialised: bool,
) -> str:
    """The pod's phase, which never goes back, and is final only when no container runs any more.

    For the scheduler gives the resources of a pod that has ended to others.
    """
    runs = any(status.state == "running" for status in observed.all())
    new = _phase_by_states(pod, init, main, memory, initialised=initialised, runs=runs)
    if runs and new in ("Succeeded", "Failed"):
        new = "Running" if pod.status.phase == "Running" else "Pending"
    return lifecycle.advance(pod.status.phase, new)


def _phase_by_states(
    pod: Pod,
    init: list[ApiStatus],
    main: list[ApiStatus],
    memory: PodMemory,
    *,
    initialised: bool,
    runs: bool,
) -> lifecycle.Phase:
    """The phase by the states of the containers, a deletion and a failure of the whole pod."""
    if memory.failed:
        return "Failed"
    # One that will be restarted is waiting, not terminated.
    init_failed = any(
        s.state.terminated is not None and s.state.terminated.exitCode
        for s in init
        if not is_sidecar(pod, s.name)
    )
    states: list[lifecycle.ContainerPhase] = []
    codes = []
    for status in main:
        if status.state.terminated is not None:
            states.append("terminated")
            codes.append(status.state.terminated.exitCode)
        elif status.state.running is not None or status.lastState.terminated is not None:
            states.append("running")
        else:
            states.append("waiting")
    if pod.metadata.deletionTimestamp and not runs:
        return lifecycle.end_of(states, codes)
    return lifecycle.phase_of(
        states,
        codes,
        initialised=initialised,
        init_failed=init_failed,
    )


def _container_status(
    pod: Pod,
    container: Container,
    observed: Observed,
    memory: PodMemory,
    findings: Findings,
) -> ApiStatus:
    """The status of one container, of its last attempt and of the one before."""
    runs_once = any(c.name == container.name for c in pod.spec.initContainers) and not is_sidecar(
        pod, container.name
    )
    keeps_report = is_ending(pod, memory) or (runs_once and any_started(pod, observed, memory))
    known = _reported(pod, container.name)
    reported = known if keeps_report else None
    attempts = observed.containers.get(container.name, [])
    ended = [status for status in attempts if has_ended(status, memory)]
    latest = attempts[-1] if attempts else None
    if ended and latest is not None and latest.state == "created" and latest is not ended[-1]:
        latest = ended[-1]  # the status is of this one until the next attempt runs
    status = ApiStatus(
        name=container.name,
        image=latest.image if latest and latest.image else container.image,
        imageID=latest.image_id if latest else "",
        containerID=uri(latest.id) if latest else "",
        restartCount=latest.attempt if latest else 0,
    )
    if latest is not None:
        status.allocatedResources = dict(container.resources.requests)
        status.resources = resizing.reported(container, latest, memory)
    if latest is not None and known is not None and not ended:
        status.lastState = _before(known, status.containerID)
    started = False
    if latest is None and reported is not None and reported.containerID:
        return _as_reported(reported)
    if latest is None:
        status.state = _waiting(*_why_waiting(container, memory, findings))
        if known is not None:
            status.restartCount, status.lastState = _after_removal(known)
    elif latest.state == "running" and not hooks.post_start_is_over(container, latest, memory):
        if ended:
            status.state = _restarting(pod, container, ended[-1], memory, findings)
            status.lastState = _terminated(ended[-1], memory)
        else:
            status.state = _waiting(*_why_waiting(container, memory, findings))
    elif latest.state == "running":
        stamp = _stamp(latest.started_at)
        status.state = ContainerState(running=ContainerStateRunning(startedAt=stamp))
        started = probing.is_started(container, latest, memory)
        status.ready = probing.is_ready(container, latest, memory)
        if ended:
            status.lastState = _terminated(ended[-1], memory)
    elif not has_ended(latest, memory):
        status.state = _waiting(*_why_waiting(container, memory, findings))
    elif _will_restart(pod, container, latest, observed, memory):
        status.state = _restarting(pod, container, latest, memory, findings)
        status.lastState = _terminated(latest, memory)
    else:
        status.state = _terminated(latest, memory)
        if len(ended) > 1:
            status.lastState = _terminated(ended[-2], memory)
        elif known is not None:
            status.lastState = _before(known, status.containerID)
        status.ready = runs_once and latest.exit_code == 0
    status.started = started
    return status


def _ephemeral_status(
    pod: Pod,
    container: Container,
    observed: Observed,
    memory: PodMemory,
    findings: Findings,
) -> ApiStatus:
    """The status of an ephemeral container, which is never ready, for nobody relies on it."""
    known = _reported(pod, container.name)
    if observed.latest(container.name) is None and known is not None and has_run(pod, known.name):
        return msgspec.structs.replace(_as_reported(known), started=None)
    made = _container_status(pod, container, observed, memory, findings)
    made.ready, made.started = False, None
    wanted, waiting = target_of(pod, container.name), made.state.waiting
    waits = waiting is not None and waiting.reason == "ContainerCreating"
    if waits and wanted and target(pod, container.name, observed) is None:
        made.state = _waiting("ContainerCreating", f"container {wanted} does not run")
    return made


def _reported(pod: Pod, name: str) -> ApiStatus | None:
    """What was reported last of a container, or None."""
    status = pod.status
    known = (
        *status.initContainerStatuses,
        *status.containerStatuses,
        *status.ephemeralContainerStatuses,
    )
    return next((one for one in known if one.name == name), None)


def _after_removal(known: ApiStatus) -> tuple[int, ContainerState]:
    """(restartCount, lastState) of a container that somebody has removed: it will be restarted.

    Called with its own result it answers the same: what it answers has no containerID any more.
    """
    if not known.containerID:
        return known.restartCount, known.lastState
    last = known.lastState
    if known.state.terminated is not None:
        last = known.state
    elif known.state.running is not None:
        last = _could_not_be_located(known)
    return known.restartCount + 1, last


def _before(known: ApiStatus, container_id: str) -> ContainerState:
    """The lastState of a container whose former attempt has been removed, as it was reported."""
    last = known.lastState if known.containerID == container_id else _after_removal(known)[1]
    is_own = last.terminated is not None and last.terminated.containerID == container_id
    return ContainerState() if is_own else last


def _could_not_be_located(known: ApiStatus) -> ContainerState:
    """The lastState of a container of which only the last report is left, as Kubernetes has it."""
    return ContainerState(
        terminated=ContainerStateTerminated(
            exitCode=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located",
            containerID=known.containerID,
        )
    )


def _as_reported(reported: ApiStatus) -> ApiStatus:
    """The status of a container of an ending pod that has been removed: terminated."""
    if reported.state.terminated is not None:
        return reported
    status = msgspec.structs.replace(reported, ready=False, started=False)
    last = reported.lastState.terminated
    if last is not None and last.containerID == reported.containerID:
        # It was in back-off; its next attempt will not come.
        status.state, status.lastState = reported.lastState, ContainerState()
    else:
        status.state = _could_not_be_located(reported)
    return status


def _will_restart(
    pod: Pod,
    container: Container,
    latest: ContainerStatus,
    observed: Observed,
    memory: PodMemory,
) -> bool:
    if is_ending(pod, memory) or has_finished(pod, observed, memory):
        return False
    if asks_for_all(pod, observed, memory):
        return True
    return restarts(pod, container, latest, memory)


def _restarting(
    pod: Pod, container: Container, ended: ContainerStatus, memory: PodMemory, findings: Findings
) -> ContainerState:
    """The waiting state of a container between two attempts."""
    failure, seconds = memory.failure_of(container), restart_wait_seconds(ended, memory)
    if failure is None and seconds > 0 and not ended.lost:
        # The whole back-off, not what is left of it: that would be a new status every time.
        wait, meta = _duration(seconds), pod.metadata
        text = (
            f"back-off {wait} restarting failed container={container.name} "
            f"pod={meta.name}_{meta.namespace}({meta.uid})"
        )
        return _waiting("CrashLoopBackOff", text)
    return _waiting(*_why_waiting(container, memory, findings))


def _duration(seconds: int) -> str:
    """`10s`, `2m40s`, as Go writes it."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _why_waiting(container: Container, memory: PodMemory, findings: Findings) -> tuple[str, str]:
    """(reason, message) of a container that waits, but for a back-off after a crash."""
    unsupported = findings.of(container.name)
    if unsupported:
        return "CreateContainerConfigError", unsupported
    failure = memory.failure_of(container)
    if failure is not None:
        return failure.reason, failure.message
    return "ContainerCreating", ""


def _waiting(reason: str, message: str) -> ContainerState:
    return ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))


def _terminated(status: ContainerStatus, memory: PodMemory) -> ContainerState:
    """The terminated state of an attempt."""
    start_failure = memory.start_failures.get(status.id)
    code = exit_code(status, memory)
    if start_failure:
        reason = "StartError"
    elif status.lost:
        reason = LOST_REASON
    elif status.oom_killed:
        reason = "OOMKilled"
    else:
        reason = "Error" if code else "Completed"
    message = start_failure.message if start_failure else memory.messages.get(status.id, "")
    finished = times.to_time(start_failure.at) if start_failure else _stamp(status.finished_at)
    return ContainerState(
        terminated=ContainerStateTerminated(
            exitCode=code,
            signal=0,
            reason=reason,
            message=message,
            startedAt=_stamp(status.started_at),
            finishedAt=finished,
            containerID=uri(status.id),
        )
    )


def _stamp(text: str) -> Time | None:
    return times.to_time(times.parse(text)) if text else None
