"""Prefer nodes whose CPU and memory would be used evenly.

Source: pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go of Kubernetes.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from common.api.podrequests import CPU, MEMORY
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent
from master.scheduler.pod import PodClass


class BalancedAllocation:
    """Scores how a pod changes the difference between the shares of CPU and memory in use."""

    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset()

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """75, and up to 25 more where the pod evens the use out or less where it does not.

        The standard deviation of two shares is half their difference.
        """
        asked = dict(pod.requests)
        cpu, memory = asked.get(CPU, 0), asked.get(MEMORY, 0)
        if not cpu and not memory:
            return None
        gap = columns.gap
        new = gap + (cpu * columns.per_unit[0] - memory * columns.per_unit[1])
        scores: Floats = 75.0 + 25.0 * (np.abs(gap) - np.abs(new))
        return scores
