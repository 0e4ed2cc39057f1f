"""Which pods the kubelet ends for what they take of the disk. Pure.

An emptyDir of a disk has the size that its pod asked for; one of memory is a tmpfs of that size.
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
"""Counting takes at most this part of the time: what is slow to count is counted less often."""
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def limits(pod: Pod) -> dict[str, int]:
    """The size in bytes of each emptyDir on a disk that has a limit, by the volume's name."""
    if (pod.spec.priority or 0) >= SYSTEM_CRITICAL_PRIORITY:
        return {}
    found = {
        volume.name: quantity.whole(volume.emptyDir.sizeLimit)
        for volume in pod.spec.volumes
        if volume.emptyDir is not None
        if volume.emptyDir.sizeLimit and volume.emptyDir.medium == ""
    }
    return {name: size for name, size in found.items() if size > 0}


def exceeded(pod: Pod, used: Mapping[str, int]) -> str:
    """Why a pod is to be evicted, by the bytes that its volumes take; empty for no reason."""
    sizes = limits(pod)
    for volume in pod.spec.volumes:
        size = sizes.get(volume.name)
        if size is not None and used.get(volume.name, 0) > size and volume.emptyDir is not None:
            limit = volume.emptyDir.sizeLimit
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}".'
    return ""


def rest_seconds(took_seconds: float) -> float:
    """How long volumes are left alone when counting them has taken so long."""
    return max(MEASURE_SECONDS, took_seconds * MEASURE_SHARE)
