"""What the kernel is to hold a container to, by its resources. Pure.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from __future__ import annotations

import msgspec

from common.api import quantity
from common.api.codec import json as codec
from common.api.types.core_v1 import ResourceRequirements
from node.runtime.base import PERIOD_US, Limits

RESIZABLE = ("memory", "cpu")
"""In the order in which limits are set, as in Kubernetes."""
MIN_SHARES, MIN_QUOTA_US = 2, 1000


def resizable(resources: ResourceRequirements) -> ResourceRequirements:
    """The CPU and memory of a container's resources."""
    most, least = resources.limits, resources.requests
    return ResourceRequirements(
        limits={name: most[name] for name in RESIZABLE if name in most},
        requests={name: least[name] for name in RESIZABLE if name in least},
    )


def resource_text(resources: ResourceRequirements) -> str:
    """What a container is made with, as the runtime keeps it for the kubelets to come."""
    return codec.encode(resizable(resources)).decode()


def parsed(text: str) -> ResourceRequirements | None:
    """The reverse; None for a container of a release that has kept nothing."""
    try:
        return codec.decode(text.encode(), ResourceRequirements)
    except msgspec.DecodeError:
        return None


def limits_of(resources: ResourceRequirements) -> Limits:
    """The limits of a container that has these resources."""
    memory, cpu = resources.limits.get("memory"), resources.limits.get("cpu")
    request = resources.requests.get("cpu") or cpu
    milli = quantity.milli(request) if request else 0
    quota_us = quantity.milli(cpu) * PERIOD_US // 1000 if cpu else 0
    return Limits(
        memory_bytes=quantity.whole(memory) if memory else 0,
        cpu_shares=max(MIN_SHARES, milli * 1024 // 1000),
        cpu_quota_us=max(quota_us, MIN_QUOTA_US) if quota_us else 0,
    )
