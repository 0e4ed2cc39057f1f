"""nodeSelector and node affinity: required terms rule out, preferred terms score.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from master.scheduler import affinity
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections, higher_is_better
from master.scheduler.pod import PodClass


class NodeAffinity:
    """Filters by what is required, scores by the weights of what is preferred."""

    name: ClassVar[str] = "NodeAffinity"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_LABELS}
    )
    static: ClassVar[bool] = True

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Nodes that the selector or the required terms do not match."""
        reason = "node(s) didn't match Pod's node affinity/selector"
        return [(reason, ~affinity.required(pod, columns))]

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """The weights of the preferred terms that match, the best node getting 100."""
        wanted = pod.affinity.nodeAffinity if pod.affinity is not None else None
        terms = wanted.preferredDuringSchedulingIgnoredDuringExecution if wanted else ()
        if not terms:
            return None
        raw = np.zeros(columns.size, np.float64)
        for term in terms:
            raw += term.weight * affinity.matches(term.preference, columns)
        return higher_is_better(raw, feasible)
