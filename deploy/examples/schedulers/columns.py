"""The same kind of plugin on whole columns of NumPy: for many nodes.

For the master's setting `scheduler-file`. See docs/own-scheduler.md.
"""

import numpy as np


class Reserve:
    """Keeps an eighth of every node's memory free."""

    def filter_columns(self, pod, nodes):
        """Which nodes would have too little left, by reason."""
        left = nodes.free("memory") - pod.requests.get("memory", 0)
        return {"node(s) had to keep memory in reserve": left < nodes.allocatable("memory") // 8}


class FastDisks:
    """Prefers nodes with the label disk=fast."""

    weight = 3

    def score_columns(self, pod, nodes):
        """100 for these and 0 for others."""
        return np.where(nodes.label("disk") == "fast", 100, 0)
