"""Cordoned nodes take no new pods, except pods that tolerate it.

Source: https://kubernetes.io/docs/concepts/nodes/node/#manual-node-administration
"""

from __future__ import annotations

from typing import ClassVar

from common.api.taints import tolerates
from common.api.wellknown import UNSCHEDULABLE
from master.scheduler.columns import Columns
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass

TAINT = (UNSCHEDULABLE, "", "NoSchedule")


class NodeUnschedulable:
    """Rules out nodes with `spec.unschedulable`."""

    name: ClassVar[str] = "NodeUnschedulable"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_TAINTS}
    )
    static: ClassVar[bool] = True

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Every cordoned node, unless the pod tolerates the taint that stands for it."""
        if tolerates(pod.tolerations, TAINT):
            return []
        return [("node(s) were unschedulable", columns.unschedulable.copy())]
