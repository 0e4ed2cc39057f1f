"""Probes as a state machine: which are to run now, and what results their answers give. Pure.

Source: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

from typing import NamedTuple

from common.api.types.core_v1 import Container, Pod, PodStatus, Probe
from node.kubelet.pod import hooks
from node.kubelet.pod.memory import (
    Observed,
    PodMemory,
    ProbeKey,
    ProbeKind,
    ProbeResult,
    ProbeState,
)
from node.kubelet.pod.sidecars import long_running
from node.runtime.base import ContainerStatus, uri

FATAL_KINDS: tuple[ProbeKind, ...] = ("liveness", "startup")
"""Probes whose failure ends the container."""
KINDS: tuple[ProbeKind, ...] = ("startup", "liveness", "readiness")
TITLES: dict[ProbeKind, str] = {
    "startup": "Startup",
    "liveness": "Liveness",
    "readiness": "Readiness",
}
FIRST: dict[ProbeKind, ProbeResult] = {
    "startup": "unknown",
    "liveness": "success",
    "readiness": "failure",
}
"""The result of a probe before its first answers have reached a threshold."""


class Target(NamedTuple):
    """A probe that is to run."""

    key: ProbeKey
    container: Container
    status: ContainerStatus
    probe: Probe


def probe_of(container: Container, kind: ProbeKind) -> Probe | None:
    """The probe of that kind, or None."""
    probes = {
        "startup": container.startupProbe,
        "liveness": container.livenessProbe,
        "readiness": container.readinessProbe,
    }
    return probes[kind]


def take(state: ProbeState, probe: Probe, *, success: bool) -> ProbeState:
    """The state after one more answer: the result changes when a run of equal ones is long enough.

    A threshold of 0 counts as 1.
    """
    last: ProbeResult = "success" if success else "failure"
    run = state.run + 1 if state.last == last else 1
    threshold = probe.successThreshold if success else probe.failureThreshold
    return ProbeState(last if run >= threshold else state.result, last, run)


def adopted(kind: ProbeKind, status: PodStatus, container_id: str) -> ProbeState:
    """The first state of a probe, as the container was reported last.

    So a restart of the kubelet neither makes a ready container unready nor begins a startup probe
    anew.
    """
    known = (*status.initContainerStatuses, *status.containerStatuses)
    reported = next((s for s in known if s.containerID == uri(container_id)), None)
    if reported is not None and kind == "readiness" and reported.ready:
        return ProbeState("success")
    if reported is not None and kind == "startup" and reported.started:
        return ProbeState("success")
    return ProbeState(FIRST[kind])


def adopt(pod: Pod, observed: Observed, memory: PodMemory) -> None:
    """Give every probe of a running container its first state; drop those of removed containers."""
    for container in long_running(pod):
        status = running(container, observed)
        if status is None:
            continue
        for kind in KINDS:
            if (
                probe_of(container, kind) is not None
                and ProbeKey(status.id, kind) not in memory.probes
            ):
                memory.probes[ProbeKey(status.id, kind)] = adopted(kind, pod.status, status.id)
    present = {status.id for status in observed.all()}
    for known in [key for key in memory.probes if key[0] not in present]:
        del memory.probes[known]


def running(container: Container, observed: Observed) -> ContainerStatus | None:
    """The attempt of a container that runs now, or None."""
    latest = observed.latest(container.name)
    return latest if latest is not None and latest.state == "running" else None


def result(memory: PodMemory, container_id: str, kind: ProbeKind) -> ProbeResult:
    """The result of a probe; "unknown" for one that does not exist."""
    state = memory.probes.get(ProbeKey(container_id, kind))
    return state.result if state is not None else "unknown"


def is_started(container: Container, status: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a running container has started: postStart hook and startup probe have succeeded."""
    if not hooks.post_start_is_over(container, status, memory):
        return False
    return container.startupProbe is None or result(memory, status.id, "startup") == "success"


def is_ready(container: Container, status: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a running container is ready; none is while the machine shuts down."""
    if memory.halting or not is_started(container, status, memory):
        return False
    return container.readinessProbe is None or result(memory, status.id, "readiness") == "success"


def targets(pod: Pod, observed: Observed, memory: PodMemory, *, ending: bool) -> list[Target]:
    """The probes that are to run now: of a pod that is being stopped, readiness only."""
    if pod.status.phase in ("Succeeded", "Failed") or memory.failed:
        return []
    return [
        Target(ProbeKey(status.id, kind), container, status, probe)
        for container in long_running(pod)
        if (status := running(container, observed)) is not None
        for kind in KINDS
        if (probe := probe_of(container, kind)) is not None
        and _runs(kind, container, status, memory, ending=ending)
    ]


def _runs(
    kind: ProbeKind,
    container: Container,
    status: ContainerStatus,
    memory: PodMemory,
    *,
    ending: bool,
) -> bool:
    if not hooks.post_start_is_over(container, status, memory):
        return False
    stops = ending or status.id in memory.stops
    if kind == "startup":
        return not stops and result(memory, status.id, kind) == "unknown"
    if not is_started(container, status, memory):
        return False
    return kind == "readiness" or (not stops and result(memory, status.id, kind) != "failure")


def grace_seconds(pod: Pod, container: Container, failed: ProbeKind | None) -> int:
    """The grace period of a container; that of the probe that has failed, if it has one."""
    probe = probe_of(container, failed) if failed is not None else None
    if probe is not None and probe.terminationGracePeriodSeconds is not None:
        return probe.terminationGracePeriodSeconds
    grace = pod.spec.terminationGracePeriodSeconds
    return 30 if grace is None else grace
