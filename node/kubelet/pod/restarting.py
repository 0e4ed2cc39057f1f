"""Which containers run again after their end and when, and which pods have finished. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restart-rules
(KEP-5307: policies and rules of containers, KEP-5532: one that restarts all of a pod).
"""

from __future__ import annotations

from common.api.types.core_v1 import Container, Pod
from node.kubelet.pod.memory import Observed, PodMemory, restart_delay_seconds
from node.kubelet.pod.resources import resizing
from node.runtime.base import ContainerStatus

ALL = "RestartAllContainers"
START_ERROR_EXIT_CODE = 128
"""Of an attempt that could not be started, as containerd reports it."""


def restarts(pod: Pod, container: Container, ended: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a container that has ended runs again: by its rules, its own policy or the pod's.

    One that was stopped for a change of it is restarted whatever the policy.
    """
    stop = memory.stops.get(ended.id)
    if stop is not None and stop.restart and is_changed(container, ended):
        return True
    if ended.id in memory.of_former_sandbox and _is_init(pod, container):
        return True
    policy = policy_of(pod, container)
    failed = exit_code(ended, memory) != 0 or bool(stop and stop.restart)
    if policy == "Always" or (policy == "OnFailure" and failed):
        return True
    by_rule = _action(pod, container, ended, memory) != ""
    return by_rule and (failed or not _is_init(pod, container))


def exit_code(ended: ContainerStatus, memory: PodMemory) -> int:
    """The exit code of an attempt."""
    return START_ERROR_EXIT_CODE if ended.id in memory.start_failures else ended.exit_code


def _action(pod: Pod, container: Container, ended: ContainerStatus, memory: PodMemory) -> str:
    """What the first rule for the exit code of an attempt asks for; empty for no rule.

    Rules are for ends of a process's own: not for one that was stopped so as to be restarted.
    """
    stop = memory.stops.get(ended.id)
    if stop is not None and stop.restart and policy_of(pod, container) != "Never":
        return ""
    code = exit_code(ended, memory)
    for rule in container.restartPolicyRules:
        if rule.exitCodes is not None and (code in rule.exitCodes.values) == (
            rule.exitCodes.operator == "In"
        ):
            return rule.action
    return ""


def asks_for_all(pod: Pod, observed: Observed, memory: PodMemory) -> list[Container]:
    """The containers whose ends restart all containers of the pod."""
    return [
        container
        for container in (*pod.spec.initContainers, *pod.spec.containers)
        if (latest := observed.latest(container.name)) is not None
        and has_ended(latest, memory)
        and _action(pod, container, latest, memory) == ALL
    ]


def may_restart_all(pod: Pod) -> bool:
    """Whether an end of some container may restart all containers of the pod."""
    containers = (*pod.spec.initContainers, *pod.spec.containers)
    return any(rule.action == ALL for one in containers for rule in one.restartPolicyRules)


def policy_of(pod: Pod, container: Container) -> str:
    """The restart policy of a container: its own, or the pod's.

    By a pod's Always, init containers are restarted until they have succeeded.
    """
    policy = container.restartPolicy or pod.spec.restartPolicy
    if policy == "Always" and not container.restartPolicy and _is_init(pod, container):
        return "OnFailure"
    return policy


def _is_init(pod: Pod, container: Container) -> bool:
    return any(one.name == container.name for one in pod.spec.initContainers)


def is_changed(container: Container, status: ContainerStatus) -> bool:
    """Whether a container was made from another image, or must be made anew to be resized."""
    asked = status.asked_image
    return asked not in ("", container.image) or resizing.needs_restart(container, status)


def has_ended(status: ContainerStatus, memory: PodMemory) -> bool:
    """Whether an attempt is over, also one that could not be started."""
    return status.state in ("exited", "unknown") or status.id in memory.start_failures


def has_succeeded(ended: ContainerStatus) -> bool:
    """Whether an attempt has ended as it should."""
    return ended.state == "exited" and ended.exit_code == 0


def has_finished(pod: Pod, observed: Observed, memory: PodMemory) -> bool:
    """Whether the app containers have ended for good, or never begin as an init container failed.

    Sidecars may still run: they are to stop now.
    """

    def last_end(container: Container) -> ContainerStatus | None:
        """The attempt after which there is no other."""
        latest = observed.latest(container.name)
        if latest is None or not has_ended(latest, memory):
            return None
        return None if restarts(pod, container, latest, memory) else latest

    if asks_for_all(pod, observed, memory):
        return False
    init = [last_end(container) for container in pod.spec.initContainers]
    failed = any(end is not None and not has_succeeded(end) for end in init)
    return failed or all(last_end(container) is not None for container in pod.spec.containers)


def back_off_seconds(ended: ContainerStatus, memory: PodMemory, monotonic: float) -> float:
    """How long the next attempt still waits.

    A container that a reboot has ended has not crashed: it does not wait.
    """
    if ended.lost:
        return 0.0
    since = monotonic - memory.ended[ended.id]
    return max(0.0, restart_wait_seconds(ended, memory) - since)


def restart_wait_seconds(ended: ContainerStatus, memory: PodMemory) -> int:
    """How long the next attempt waits in all."""
    return restart_delay_seconds(ended.attempt, memory.stable_from.get(ended.name, 0))
