"""Resizes of pods: what is set aside, and what containers have and are to have. Pure.

A pod's spec says what is wanted. It counts once it is set aside on the machine (allocated); then
the limits of its containers are set, or the containers restarted, as their resizePolicy says.
Source: KEP-1287,
https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from msgspec.structs import replace

from common.api import conditions, quantity
from common.api.types.core_v1 import Container, Pod, PodCondition, ResourceRequirements
from node.kubelet.pod.memory import Observed, PendingResize, PodMemory
from node.kubelet.pod.steps import AllocateResources, SetLimits, Step, Wait
from node.kubelet.spec.limits import RESIZABLE, limits_of, parsed, resizable
from node.runtime.base import PERIOD_US, ContainerStatus, Limits

Kind = Literal["cpu", "memory"]
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
Resources = Mapping[str, ResourceRequirements]
"""CPU and memory of each container, by its name."""


def containers_of(pod: Pod) -> tuple[Container, ...]:
    """Those that can be resized."""
    return (*pod.spec.initContainers, *pod.spec.containers)


def of_spec(pod: Pod) -> dict[str, ResourceRequirements]:
    """The CPU and memory that a pod's spec says."""
    return {container.name: resizable(container.resources) for container in containers_of(pod)}


def recalled(
    pod: Pod, stored: Resources | None, observed: Observed
) -> dict[str, ResourceRequirements]:
    """What is set aside for a pod as a kubelet begins with it.

    What an earlier one has `stored` at a resize; or else what its containers were made with. For a
    pod without containers it is what the spec says.
    """
    found = of_spec(pod)
    for name in found:
        latest = observed.latest(name)
        made_with = parsed(latest.resources) if latest is not None else None
        if stored is not None and name in stored:
            found[name] = stored[name]
        elif made_with is not None:
            found[name] = made_with
    return found


def allocated(pod: Pod, memory: PodMemory) -> Pod:
    """The pod with the CPU and memory that are set aside for it, in place of what is wanted."""
    if all(memory.allocated.get(name, own) == own for name, own in of_spec(pod).items()):
        return pod
    spec = replace(
        pod.spec,
        containers=tuple(_allocated(one, memory) for one in pod.spec.containers),
        initContainers=tuple(_allocated(one, memory) for one in pod.spec.initContainers),
    )
    return replace(pod, spec=spec)


def _allocated(container: Container, memory: PodMemory) -> Container:
    held, own = memory.allocated.get(container.name), container.resources
    if held is None:
        return container
    others = {
        kind: {name: amount for name, amount in getattr(own, kind).items() if name not in RESIZABLE}
        for kind in ("limits", "requests")
    }
    made = replace(
        own,
        limits=others["limits"] | held.limits,
        requests=others["requests"] | held.requests,
    )
    return replace(container, resources=made)


def plan_allocation(pod: Pod, memory: PodMemory) -> list[Step]:
    """Set aside what is wanted; what was refused is asked for again once there is room."""
    wanted, pending = of_spec(pod), memory.resize.pending
    if not memory.allocated or (wanted == memory.allocated and pending is None):
        return []
    if pending is not None and pending.wanted == wanted:
        return []
    return [AllocateResources(reason="the pod is resized", resources=wanted)]


def plan_limits(pod: Pod, observed: Observed, memory: PodMemory, monotonic: float) -> list[Step]:
    """Set the limits of running containers: memory before CPU, and what shrinks before what grows.

    `pod` has what is set aside. One failure keeps all others back, as in Kubernetes.
    """
    steps = [change.step for change in sorted(_changes(pod, observed, memory), key=_order)]
    failure = memory.resize.failure
    if steps and failure is not None and monotonic < failure.retry_at:
        return [Wait(reason=failure.message, seconds=failure.retry_at - monotonic)]
    return list(steps)


class _Change(NamedTuple):
    kind: Kind
    grows: bool
    step: SetLimits


def _order(change: _Change) -> tuple[int, bool]:
    return RESIZABLE.index(change.kind), change.grows


def _changes(pod: Pod, observed: Observed, memory: PodMemory) -> Iterator[_Change]:
    for container, status in _resized(pod, observed, memory):
        has, wanted = status.limits, limits_of(container.resources)
        if status.state != "running" or has is None or status.id in memory.stops:
            continue
        differs = _differences(status, wanted, memory)
        for kind, grows, part in (
            ("memory", _grows(has.memory_bytes, wanted.memory_bytes), _memory_of(wanted)),
            ("cpu", _cpu_grows(has, wanted), _cpu_of(wanted)),
        ):
            if kind in differs:
                why = f"container {container.name} is resized"
                step = SetLimits(reason=why, status=status, limits=part)
                yield _Change("memory" if kind == "memory" else "cpu", grows, step)


def _resized(
    pod: Pod, observed: Observed, memory: PodMemory
) -> Iterator[tuple[Container, ContainerStatus]]:
    """The containers whose limits are set while they run, with their last attempts."""
    if not memory.resize.begun:
        return
    for container in containers_of(pod):
        latest = observed.latest(container.name)
        if latest is not None and not needs_restart(container, latest):
            yield container, latest


def _differences(status: ContainerStatus, wanted: Limits, memory: PodMemory) -> set[Kind]:
    """In what a container does not have what is wanted, as far as can be known."""
    if status.limits is None:
        return set()
    known = memory.resize.limits.get(status.id)
    differs = status.limits.differences(wanted)
    return differs if known is None else differs & known.differences(wanted)


def _memory_of(wanted: Limits) -> Limits:
    return Limits(memory_bytes=wanted.memory_bytes)


def _cpu_of(wanted: Limits) -> Limits:
    return Limits(cpu_shares=wanted.cpu_shares, cpu_quota_us=wanted.cpu_quota_us)


def _grows(has: int, wanted: int) -> bool:
    """Of limits, where 0 is without end."""
    return bool(has) and (not wanted or wanted > has)


def _cpu_grows(has: Limits, wanted: Limits) -> bool:
    return _grows(has.cpu_quota_us, wanted.cpu_quota_us) or (
        has.cpu_quota_us == wanted.cpu_quota_us and wanted.cpu_shares > has.cpu_shares
    )


def needs_restart(container: Container, status: ContainerStatus) -> bool:
    """Whether a container must be made anew to have what is set aside for it.

    Of a resource with RestartContainer a container has, all its life, what it was made with.
    """
    policies, own = container.resizePolicy, container.resources
    names = [one.resourceName for one in policies if one.restartPolicy == "RestartContainer"]
    made_with = parsed(status.resources) if names else None
    return made_with is not None and any(
        own.limits.get(name) != made_with.limits.get(name)
        or own.requests.get(name) != made_with.requests.get(name)
        for name in names
    )


def in_progress(pod: Pod, observed: Observed, memory: PodMemory) -> bool:
    """Whether some container does not have yet what is set aside for it, as `pod` says."""
    if not memory.resize.begun:
        return False
    latest = ((one, observed.latest(one.name)) for one in containers_of(pod))
    if any(status is not None and needs_restart(one, status) for one, status in latest):
        return True
    return any(
        _differences(status, limits_of(container.resources), memory)
        for container, status in _resized(pod, observed, memory)
        if status.state == "running"
    )


def resize_conditions(pod: Pod, observed: Observed, memory: PodMemory) -> list[PodCondition]:
    """The conditions that say where a resize stands; without type for none. `pod` is as wanted."""
    found, generation = [], pod.metadata.generation
    pending = memory.resize.pending
    if pending is not None and pending.wanted == of_spec(pod):
        found.append(_condition(PENDING, pending.reason, pending.message, generation))
    if in_progress(allocated(pod, memory), observed, memory):
        failure, since = memory.resize.failure, memory.resize.generation
        reason, message = ("Error", failure.message) if failure is not None else ("", "")
        found.append(_condition(IN_PROGRESS, reason, message, since or generation))
    return found


def _condition(kind: str, reason: str, message: str, generation: int) -> PodCondition:
    return PodCondition(
        type=kind, status="True", reason=reason, message=message, observedGeneration=generation
    )


def generation_in_progress(pod: Pod) -> int | None:
    """The generation of the resize that was under way when a kubelet last reported; or None."""
    known = conditions.find(pod.status.conditions, IN_PROGRESS)
    return known.observedGeneration if known is not None else None


def refused(reason: Literal["Deferred", "Infeasible"], message: str, pod: Pod) -> PendingResize:
    """What to remember of a resize that there is no room for."""
    return PendingResize(reason, message, of_spec(pod))


def reported(
    container: Container, status: ContainerStatus, memory: PodMemory
) -> ResourceRequirements:
    """What a container has: read from what runs where that is not what is set aside for it."""
    own = container.resources
    has = status.limits
    if status.state != "running" or has is None or not memory.resize.begun:
        return own
    made_with = parsed(status.resources)
    if needs_restart(container, status) and made_with is not None:
        return replace(own, limits=own.limits | made_with.limits)
    differs = _differences(status, limits_of(own), memory)
    most, least = dict(own.limits), dict(own.requests)
    if "memory" in differs and has.memory_bytes and "memory" in most:
        most["memory"] = quantity.from_bytes(has.memory_bytes)
    if "cpu" in differs and has.cpu_quota_us and "cpu" in most:
        most["cpu"] = quantity.from_milli(has.cpu_quota_us * 1000 // PERIOD_US)
    if "cpu" in differs and has.cpu_shares and "cpu" in least:
        least["cpu"] = quantity.from_milli(-(-has.cpu_shares * 1000 // 1024))
    return replace(own, limits=most, requests=least)
