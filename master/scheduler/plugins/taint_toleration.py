"""Taints keep pods away that do not tolerate them; PreferNoSchedule only counts against a node.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from common.api.taints import tolerates
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections, lower_is_better
from master.scheduler.pod import PodClass
from master.scheduler.tolerations import untolerated


class TaintToleration:
    """Filters by hard taints, scores by soft ones."""

    name: ClassVar[str] = "TaintToleration"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_TAINTS}
    )
    static: ClassVar[bool] = True

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Nodes with a NoSchedule or NoExecute taint that the pod does not tolerate."""
        return [("node(s) had untolerated taint(s)", untolerated(pod.tolerations, columns))]

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """Fewer PreferNoSchedule taints that are not tolerated are better."""
        sets = [
            sum(
                taint[2] == "PreferNoSchedule" and not tolerates(pod.tolerations, taint)
                for taint in taints
            )
            for taints in columns.taint_sets
        ]
        if not any(sets):
            return None
        return lower_is_better(np.array(sets, np.float64)[columns.taint_set], feasible)
