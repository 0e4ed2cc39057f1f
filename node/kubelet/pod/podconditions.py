"""The conditions of a pod that the kubelet owns. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from __future__ import annotations

from datetime import datetime

from common.api import conditions, times
from common.api.types.core_v1 import ContainerStatus as ApiStatus
from common.api.types.core_v1 import Pod, PodCondition, PodStatus
from node.kubelet.pod.memory import Observed, PodMemory
from node.kubelet.pod.restarting import asks_for_all, may_restart_all
from node.kubelet.pod.sidecars import is_sidecar

Condition = tuple[str, bool, str, str]
"""(type, whether it is true, reason, message)."""


def pod_conditions(
    pod: Pod,
    status: PodStatus,
    observed: Observed,
    memory: PodMemory,
    now: datetime,
    *,
    initialised: bool,
) -> tuple[PodCondition, ...]:
    """The conditions that the kubelet owns, and no others."""
    sandbox = observed.sandbox is not None and observed.sandbox.ready
    ended = status.phase in ("Succeeded", "Failed")
    made = [
        ("PodReadyToStartContainers", sandbox and not ended, "", ""),
        _initialised(pod, status, initialised or (may_restart_all(pod) and was_initialised(pod))),
        *_ready(pod, status),
        ("PodScheduled", True, "", ""),
        *_restarting_all(pod, status, observed, memory),
    ]
    own = [kind for kind, *_ in made]
    kept = tuple(c for c in pod.status.conditions if c.type in own)
    for kind, value, reason, message in made:
        kept = conditions.put(
            kept,
            PodCondition(
                type=kind,
                status="True" if value else "False",
                reason=reason,
                message=message,
                lastTransitionTime=times.to_time(now),
                observedGeneration=pod.metadata.generation,
            ),
        )
    return kept


def is_initialised(pod: Pod, status: ApiStatus) -> bool:
    """Whether the next init container may begin after this one."""
    if is_sidecar(pod, status.name):
        return status.started is True
    ended = status.state.terminated
    return ended is not None and ended.exitCode == 0


def was_initialised(pod: Pod) -> bool:
    """Whether the pod was reported as Initialized."""
    condition = conditions.find(pod.status.conditions, "Initialized")
    return condition is not None and condition.status == "True"


def _initialised(pod: Pod, status: PodStatus, value: bool) -> Condition:
    """Whether the init containers are through; a restart of all containers takes nothing back."""
    if value:
        return ("Initialized", True, "PodCompleted" if status.phase == "Succeeded" else "", "")
    waited_for = [s.name for s in status.initContainerStatuses if not is_initialised(pod, s)]
    message = f"containers with incomplete status: [{' '.join(waited_for)}]"
    return ("Initialized", False, "ContainersNotInitialized", message)


def _ready(pod: Pod, status: PodStatus) -> tuple[Condition, Condition]:
    """ContainersReady, and Ready, which waits for readiness gates, too."""
    if status.phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if status.phase == "Succeeded" else "PodFailed"
        return ("ContainersReady", False, reason, ""), ("Ready", False, reason, "")
    sidecars = [s for s in status.initContainerStatuses if is_sidecar(pod, s.name)]
    unready = [s.name for s in (*sidecars, *status.containerStatuses) if not s.ready]
    if unready or not status.containerStatuses:
        message = f"containers with unready status: [{' '.join(unready)}]"
        reason = "ContainersNotReady"
        return ("ContainersReady", False, reason, message), ("Ready", False, reason, message)
    unmet = _unmet_gates(pod)
    reason = "ReadinessGatesNotReady" if unmet else ""
    return ("ContainersReady", True, "", ""), ("Ready", not unmet, reason, unmet)


def _restarting_all(
    pod: Pod, status: PodStatus, observed: Observed, memory: PodMemory
) -> list[Condition]:
    """AllContainersRestarting, as a condition of pods that have a rule for that."""
    if not may_restart_all(pod):
        return []
    if status.phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if status.phase == "Succeeded" else "PodFailed"
        return [("AllContainersRestarting", False, reason, "")]
    sources = [one.name for one in asks_for_all(pod, observed, memory)]
    if not sources:
        return [("AllContainersRestarting", False, "", "")]
    message = f"by a rule of what has ended: [{' '.join(sources)}]"
    return [("AllContainersRestarting", True, "RestartAllContainersStarted", message)]


def _unmet_gates(pod: Pod) -> str:
    """Which readinessGates are not met, as the message of Ready; empty when all are."""
    unmet = []
    for gate in pod.spec.readinessGates:
        condition = conditions.find(pod.status.conditions, gate.conditionType)
        name = f'pod readiness gate "{gate.conditionType}"'
        if condition is None:
            unmet.append(f"corresponding condition of {name} does not exist.")
        elif condition.status != "True":
            unmet.append(f'the status of {name} is not "True", but {condition.status}')
    return ", ".join(unmet)
