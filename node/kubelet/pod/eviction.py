"""Which pods are evicted because an emptyDir has outgrown its sizeLimit. Pure.

Only emptyDirs on disk are measured: one of medium Memory is a tmpfs of that size.
Source: https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
"""

from __future__ import annotations

from collections.abc import Mapping

from common.api import quantity
from common.api.types.core_v1 import Pod

REASON = "Evicted"
GRACE_SECONDS = 1
MEASURE_SECONDS = 10.0
MEASURE_SHARE = 10
"""Measuring takes at most a tenth of the time: what is slow to measure is measured less often."""
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def limits(pod: Pod) -> dict[str, int]:
    """The size in bytes of each emptyDir on a disk that has a limit, by the volume's name."""
    if (pod.spec.priority or 0) >= SYSTEM_CRITICAL_PRIORITY:
        return {}
    of_volumes = {
        volume.name: quantity.whole(volume.emptyDir.sizeLimit)
        for volume in pod.spec.volumes
        if volume.emptyDir is not None
        if volume.emptyDir.sizeLimit and volume.emptyDir.medium == ""
    }
    return {name: size for name, size in of_volumes.items() if size > 0}


def exceeded(pod: Pod, used: Mapping[str, int]) -> str:
    """Why a pod is to be evicted, by the bytes that its volumes take; empty for no reason."""
    sizes = limits(pod)
    for volume in pod.spec.volumes:
        size = sizes.get(volume.name)
        if size is not None and used.get(volume.name, 0) > size and volume.emptyDir is not None:
            limit = volume.emptyDir.sizeLimit
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}".'
    return ""


def pause_seconds(took_seconds: float) -> float:
    """How long to wait after measuring has taken so long."""
    return max(MEASURE_SECONDS, took_seconds * MEASURE_SHARE)
