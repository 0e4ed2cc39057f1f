"""Ephemeral containers: added to a pod that runs, for a look inside; started once. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/ (KEP-277).
"""

from __future__ import annotations

from common.api.types.core_v1 import Container, EphemeralContainer, Pod
from node.kubelet.pod.memory import Observed
from node.runtime.base import ContainerStatus


def ephemeral_containers(pod: Pod) -> list[Container]:
    """The ephemeral containers as containers that are never restarted."""
    return [_as_container(one) for one in pod.spec.ephemeralContainers]


def _as_container(one: EphemeralContainer) -> Container:
    fields = {name: getattr(one, name) for name in Container.__struct_fields__}
    return Container(**fields | {"restartPolicy": "Never"})


def is_ephemeral(pod: Pod, name: str) -> bool:
    """Whether the container of that name is an ephemeral one."""
    return any(one.name == name for one in pod.spec.ephemeralContainers)


def has_run(pod: Pod, name: str) -> bool:
    """Whether an ephemeral container was reported to have begun: it never runs again."""
    known = (one for one in pod.status.ephemeralContainerStatuses if one.name == name)
    state = next((one.state for one in known), None)
    return state is not None and (state.running is not None or state.terminated is not None)


def target_of(pod: Pod, name: str) -> str:
    """The container whose processes an ephemeral container sees; empty for none."""
    named = (one for one in pod.spec.ephemeralContainers if one.name == name)
    return next((one.targetContainerName for one in named), "")


def target(pod: Pod, name: str, observed: Observed) -> ContainerStatus | None:
    """The running container whose PID namespace an ephemeral container joins, or None."""
    wanted = observed.latest(target_of(pod, name))
    return wanted if wanted is not None and wanted.state == "running" and wanted.pid else None
