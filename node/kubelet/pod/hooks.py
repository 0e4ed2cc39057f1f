"""Lifecycle hooks: postStart and preStop. Pure.

Source: https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

from typing import Literal

from common.api.types.core_v1 import Container, LifecycleHandler, Pod, PodStatus
from node.kubelet.pod.memory import Observed, PodMemory
from node.kubelet.pod.sidecars import long_running
from node.runtime.base import ContainerStatus, uri

HookKind = Literal["postStart", "preStop"]


def hook_of(container: Container, kind: HookKind) -> LifecycleHandler | None:
    """The handler of that kind, or None."""
    if container.lifecycle is None:
        return None
    known = {"postStart": container.lifecycle.postStart, "preStop": container.lifecycle.preStop}
    return known[kind]


def post_start_is_over(container: Container, status: ContainerStatus, memory: PodMemory) -> bool:
    """Whether a container has no postStart hook, or it has succeeded."""
    if hook_of(container, "postStart") is None:
        return True
    return memory.hooks.get((status.id, "postStart")) == "done"


def adopt(pod: Pod, observed: Observed, memory: PodMemory) -> None:
    """Take the postStart hook of a container that was reported as running for done.

    After a restart of the kubelet nothing else tells. Otherwise it is called again: Kubernetes
    calls a hook at least once.
    """
    for container in long_running(pod):
        latest = observed.latest(container.name)
        if latest is None or latest.state != "running" or not hook_of(container, "postStart"):
            continue
        key = (latest.id, "postStart")
        if key not in memory.hooks and _was_running(pod.status, latest.id):
            memory.hooks[key] = "done"


def _was_running(status: PodStatus, container_id: str) -> bool:
    return any(
        s.containerID == uri(container_id) and s.state.running is not None
        for s in (*status.initContainerStatuses, *status.containerStatuses)
    )
