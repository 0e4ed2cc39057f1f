"""Sidecars: init containers that always restart, and run as long as the app containers. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (KEP-753).
"""

from __future__ import annotations

from collections.abc import Collection

from common.api.types.core_v1 import Container, Pod


def sidecars(pod: Pod) -> list[Container]:
    """The sidecars of a pod, in the order in which they start."""
    return [one for one in pod.spec.initContainers if one.restartPolicy == "Always"]


def is_sidecar(pod: Pod, name: str) -> bool:
    """Whether the container of that name is a sidecar."""
    return any(one.name == name for one in sidecars(pod))


def long_running(pod: Pod) -> list[Container]:
    """Sidecars and app containers: those that may have probes and hooks."""
    return [*sidecars(pod), *pod.spec.containers]


def may_stop(pod: Pod, name: str, running: Collection[str]) -> bool:
    """Whether a container of an ending pod may get its stop signal, while others still run.

    A sidecar serves the app containers and the sidecars after it, so it ends after them.
    """
    order = [one.name for one in sidecars(pod)]
    if name not in order:
        return True
    served = {one.name for one in pod.spec.containers} | set(order[order.index(name) + 1 :])
    return served.isdisjoint(running)
