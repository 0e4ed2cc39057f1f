"""A node must have what a pod requests; the emptiest node is the best.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/ (the
default strategy, LeastAllocated, over CPU and memory).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from common.api.podrequests import PODS
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass


class NodeResourcesFit:
    """Filters by free amounts, scores by the share that stays free."""

    name: ClassVar[str] = "NodeResourcesFit"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {
            ClusterEvent.NODE_ADDED,
            ClusterEvent.NODE_ALLOCATABLE,
            ClusterEvent.POD_REMOVED,
            ClusterEvent.POD_RESIZED,
        }
    )
    static: ClassVar[bool] = False

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Nodes without enough of something, one reason for each resource."""
        rejections: Rejections = []
        for name, amount in pod.requests:
            if amount == 0:
                continue
            free = columns.free(name)
            lacking = columns.valid if free is None else free < amount
            reason = "Too many pods" if name == PODS else f"Insufficient {name}"
            rejections.append((reason, lacking))
        return rejections

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """The mean share of CPU and memory that is free once the pod is there."""
        cpu, memory = pod.nonzero
        used = np.minimum(columns.scored[0] + cpu * columns.per_unit[0], 1.0)
        used += np.minimum(columns.scored[1] + memory * columns.per_unit[1], 1.0)
        scores: Floats = 100.0 - 50.0 * used
        return scores
