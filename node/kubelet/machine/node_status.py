"""The Node object that a kubelet registers: capacity, addresses, versions, conditions. Pure."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from common.api import quantity, times
from common.api.types import Quantity
from common.api.types.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
)
from common.api.types.meta_v1 import ObjectMeta
from common.api.wellknown import ARCH, HOSTNAME, OS
from node import version
from node.runtime.base import ID_SCHEME, ImageStatus

PODS_MAX = "110"
IMAGES_MAX = 50
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is true of the machine for as long as the kubelet runs."""

    name: str
    address: str
    capacity: Mapping[str, Quantity]
    machine_id: str
    boot_id: str
    os_image: str
    version: str


def parse_capacity(text: str) -> dict[str, Quantity]:
    """`cpu=1,memory=4Gi` as quantities; raises ValueError naming what is wrong."""
    quantities = {}
    for part in filter(None, text.split(",")):
        name, mark, value = part.partition("=")
        if not mark or name not in ("cpu", "memory", "pods", "ephemeral-storage"):
            raise ValueError(
                f"capacity: {part!r} is not cpu=, memory=, pods= or ephemeral-storage= with a value"
            )
        try:
            quantities[name] = quantity.canonical(value)
        except quantity.InvalidQuantity as error:
            raise ValueError(f"capacity {name}={value}: {error}") from error
    return quantities


def capacity(cpus: int, memory_bytes: int, disk_bytes: int, given: str) -> dict[str, Quantity]:
    """The machine's capacity, with what the operator gives in place of what is measured."""
    return {
        "cpu": Quantity(str(cpus)),
        "memory": quantity.from_kibibytes(memory_bytes),
        "ephemeral-storage": quantity.from_kibibytes(disk_bytes),
        "pods": Quantity(PODS_MAX),
        **parse_capacity(given),
    }


def node(machine: Machine, status: NodeStatus, pod_cidr: str) -> Node:
    """The whole object, for registration; `pod_cidr` is what its pods have, empty at first."""
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    labels = {
        HOSTNAME: machine.name,
        OS: "linux",
        ARCH: architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture,
    }
    meta = ObjectMeta(name=machine.name, labels=labels)
    return Node(metadata=meta, spec=NodeSpec(podCIDR=pod_cidr), status=status)


def node_status(
    machine: Machine,
    *,
    runtime_version: str,
    unready: str,
    images: Sequence[ImageStatus],
    now: datetime,
) -> NodeStatus:
    """The status; `unready` says why the node is not ready, empty when it is."""
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    return NodeStatus(
        capacity=dict(machine.capacity),
        allocatable=dict(machine.capacity),
        addresses=(
            NodeAddress(type="InternalIP", address=machine.address),
            NodeAddress(type="Hostname", address=machine.name),
        ),
        conditions=_conditions(unready, now),
        daemonEndpoints=NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(Port=0)),
        nodeInfo=NodeSystemInfo(
            machineID=machine.machine_id,
            systemUUID=machine.machine_id,
            bootID=machine.boot_id,
            kernelVersion=platform.release(),
            osImage=machine.os_image,
            containerRuntimeVersion=f"{ID_SCHEME}{runtime_version}",
            kubeletVersion=f"{version.KUBERNETES}+wherry.{machine.version}",
            kubeProxyVersion="",
            operatingSystem="linux",
            architecture=architecture,
        ),
        images=tuple(
            ContainerImage(names=tuple(image.names), sizeBytes=image.size_bytes)
            for image in sorted(images, key=lambda i: -i.size_bytes)[:IMAGES_MAX]
            if image.names
        ),
    )


def _conditions(unready: str, now: datetime) -> tuple[NodeCondition, ...]:
    """Ready as it is; pressure is always reported as False, since nothing is evicted for it."""
    stamp = times.to_time(now)
    ready = ("True", "KubeletReady", "kubelet is posting ready status")
    if unready:
        ready = ("False", "KubeletNotReady", unready)
    made = (
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", *ready),
    )
    return tuple(
        NodeCondition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            lastHeartbeatTime=stamp,
            lastTransitionTime=stamp,
        )
        for kind, status, reason, message in made
    )
