"""Which containers run again after their end and when, and which pods have finished. Pure."""

from __future__ import annotations

from common.api.types.core_v1 import Container, Pod
from node.kubelet.pod.memory import Observed, PodMemory, restart_delay_seconds
from node.runtime.base import ContainerStatus


def restarts(pod: Pod, container: Container, ended: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a container that has ended runs again, by its own restart policy or the pod's.

    One that was stopped for a change of its image is restarted whatever the policy.
    """
    stop = memory.stops.get(ended.id)
    if stop is not None and stop.restart and is_changed(container, ended):
        return True
    if ended.id in memory.of_former_sandbox and _is_init(pod, container):
        return True
    failed = (
        ended.exit_code != 0 or ended.id in memory.start_failures or bool(stop and stop.restart)
    )
    policy = policy_of(pod, container)
    return policy == "Always" or (policy == "OnFailure" and failed)


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
    """Whether a container was made from another image: the API lets no other field change."""
    return status.asked_image not in ("", container.image)


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
