"""Which pods are evicted for what they take of the disk: an emptyDir that has outgrown its
sizeLimit, containers that have outgrown their limits of ephemeral-storage. Pure.

A container takes its log and what it writes outside of volumes; of the limits of all containers
together, emptyDirs are a part, too. Only those on disk are measured: one of medium Memory is a
tmpfs of its size. Source:
https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ (local ephemeral
storage), https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api import podrequests, quantity
from common.api.types.core_v1 import Pod

STORAGE = podrequests.STORAGE
REASON = "Evicted"
GRACE_SECONDS = 1
MEASURE_SECONDS = 10.0
MEASURE_SHARE = 10
"""Measuring takes at most a tenth of the time: what is slow to measure is measured less often."""
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def limits(pod: Pod) -> dict[str, int]:
    """The size in bytes of each emptyDir on a disk that has a limit, by the volume's name."""
    if _is_critical(pod):
        return {}
    of_volumes = {
        volume.name: quantity.whole(volume.emptyDir.sizeLimit)
        for volume in pod.spec.volumes
        if volume.emptyDir is not None
        if volume.emptyDir.sizeLimit and volume.emptyDir.medium == ""
    }
    return {name: size for name, size in of_volumes.items() if size > 0}


def storage_limits(pod: Pod) -> dict[str, int]:
    """The bytes of disk that each container may take, by its name; without those of no limit."""
    if _is_critical(pod):
        return {}
    own = {
        container.name: quantity.whole(container.resources.limits.get(STORAGE, "0"))
        for container in pod.spec.containers
    }
    return {name: size for name, size in own.items() if size > 0}


def volumes(pod: Pod) -> list[str]:
    """The names of the volumes to measure."""
    if not storage_limits(pod):
        return list(limits(pod))
    return [
        volume.name
        for volume in pod.spec.volumes
        if volume.emptyDir is not None and volume.emptyDir.medium == ""
    ]


def exceeded(
    pod: Pod, used: Mapping[str, int], by_containers: Mapping[str, int] | None = None
) -> str:
    """Why a pod is to be evicted, by the bytes that its volumes and its containers take; empty for
    no reason.
    """
    sizes = limits(pod)
    for volume in pod.spec.volumes:
        size = sizes.get(volume.name)
        if size is not None and used.get(volume.name, 0) > size and volume.emptyDir is not None:
            limit = volume.emptyDir.sizeLimit
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}".'
    return _storage_exceeded(pod, used, by_containers or {})


def _storage_exceeded(pod: Pod, used: Mapping[str, int], by_containers: Mapping[str, int]) -> str:
    own = storage_limits(pod)
    if not own:
        return ""
    total = podrequests.limits(pod.spec)[STORAGE]
    if sum(used.values()) + sum(by_containers.values()) > total:
        text = "Pod ephemeral local storage usage exceeds the total limit of containers"
        return f"{text} {quantity.from_bytes(total)}."
    for container in pod.spec.containers:
        name, limit = container.name, container.resources.limits.get(STORAGE)
        if name in own and by_containers.get(name, 0) > own[name]:
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}".'
    return ""


def _is_critical(pod: Pod) -> bool:
    return (pod.spec.priority or 0) >= SYSTEM_CRITICAL_PRIORITY


def pause_seconds(took_seconds: float) -> float:
    """How long to wait after measuring has taken so long."""
    return max(MEASURE_SECONDS, took_seconds * MEASURE_SHARE)
