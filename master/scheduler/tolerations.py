"""Whether a pod puts up with a taint.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ Pure.
"""

from __future__ import annotations

import numpy as np

from common.api.taints import tolerates
from common.api.types.core_v1 import Toleration
from master.scheduler.columns import Bools, Columns

HARD = ("NoSchedule", "NoExecute")


def untolerated(tolerations: tuple[Toleration, ...], columns: Columns) -> Bools:
    """The nodes with a taint that keeps the pod away."""
    sets = [
        any(
            effect in HARD and not tolerates(tolerations, (key, value, effect))
            for key, value, effect in taints
        )
        for taints in columns.taint_sets
    ]
    return np.array(sets or [False], np.bool_)[columns.taint_set]
