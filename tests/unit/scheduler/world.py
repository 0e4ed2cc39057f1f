"""Nodes and pods for the tests of the scheduler."""

from __future__ import annotations

from itertools import count
from typing import Any

from common.api.codec import json as codec
from common.api.types.core_v1 import (
    Container,
    Node,
    NodeSpec,
    NodeStatus,
    Pod,
    PodSpec,
    ResourceRequirements,
    Taint,
)
from common.api.types.meta_v1 import ObjectMeta, OwnerReference
from common.client.informer import Item, item
from master.scheduler.columns import Columns
from master.scheduler.cycle import Cycle
from master.scheduler.pod import PodInfo, pod_info
from master.scheduler.registry import FILTERS, SCORES

_numbers = count(1)


def node_item(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    taints: tuple[Taint, ...] = (),
    unschedulable: bool = False,
    **more: str,
) -> Item:
    """A node as a lister has it."""
    node = Node(
        metadata=ObjectMeta(
            name=name,
            uid=f"uid-{name}",
            resourceVersion=str(next(_numbers)),
            labels={"kubernetes.io/hostname": name} | (labels or {}),
        ),
        spec=NodeSpec(taints=taints, unschedulable=unschedulable),
        status=NodeStatus(allocatable={"cpu": cpu, "memory": memory, "pods": pods, **more}),
    )
    return item(codec.encode(node))


def pod_item(
    name: str,
    *,
    cpu: str = "",
    memory: str = "",
    labels: dict[str, str] | None = None,
    owner: str = "",
    node: str = "",
    phase: str = "Pending",
    requests: dict[str, str] | None = None,
    deleting: bool = False,
    namespace: str = "default",
    **spec: Any,
) -> Item:
    """A pod as a lister has it."""
    asked = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    containers = spec.pop("containers", None) or (
        Container(name="c", resources=ResourceRequirements(requests=asked | (requests or {}))),
    )
    owners = (OwnerReference(kind="ReplicaSet", name=owner, uid=owner, controller=True),)
    number = next(_numbers)
    pod = Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=f"uid-{name}",
            resourceVersion=str(number),
            labels=labels or {},
            ownerReferences=owners if owner else (),
            deletionTimestamp="2030-01-01T00:00:00Z" if deleting else None,
        ),
        spec=PodSpec(containers=containers, nodeName=node, **spec),
    )
    pod.status.phase = phase
    return item(codec.encode(pod))


def pod(name: str, **spec: Any) -> PodInfo:
    """A pod as the scheduler knows it."""
    return pod_info(pod_item(name, **spec))


def cycle(*nodes: Item) -> Cycle:
    """A cycle with all plugins over some nodes."""
    columns = Columns()
    for found in nodes:
        columns.put_node(found)
    return Cycle(columns, FILTERS, SCORES)


def place(cycle: Cycle, info: PodInfo) -> str:
    """Schedule and assume; the node's name, or the words of the rejection."""
    decision = cycle.schedule(info)
    if decision.rejection is not None:
        return str(decision.rejection)
    cycle.assume(info, decision.node)
    return decision.node
