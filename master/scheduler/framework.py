"""What a plugin is: filters and scores on columns, and which events can cure its "no".

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, Protocol

import numpy as np

from master.scheduler.columns import Bools, Columns, Floats, NodeRow
from master.scheduler.pod import PodClass

Rejections = list[tuple[str, Bools]]
"""For each reason, in Kubernetes' words, the nodes that it rules out."""


class ClusterEvent(Enum):
    """A change that may make room for a pod that was turned down."""

    NODE_ADDED = "a node is new"
    NODE_ALLOCATABLE = "a node can give away other amounts"
    NODE_LABELS = "the labels of a node have changed"
    NODE_TAINTS = "the taints or the cordon of a node have changed"
    POD_ADDED = "a pod was placed"
    POD_REMOVED = "a pod has left its node"
    POD_RESIZED = "a pod takes other amounts of its node"
    SCHEDULER_FILE = "the user's own scheduler file has changed"


class Plugin(Protocol):
    """What filters and scores have in common."""

    name: ClassVar[str]
    events: ClassVar[frozenset[ClusterEvent]]
    """What can cure a rejection."""


class Filter(Plugin, Protocol):
    """Rules nodes out."""

    static: ClassVar[bool]
    """Whether the answer depends on nothing but the pod's class and the nodes' own properties
    (labels, taints, cordon). Such answers are kept until a node changes."""

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """The nodes that a pod cannot run on, and why; pure."""
        ...


class Score(Plugin, Protocol):
    """Prefers nodes."""

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """0 (bad) to 100 (good) for every row; None when the plugin has no opinion. Pure.

        The caller may change the array that it gets.
        """
        ...


class NodePlugin(ABC):
    """A filter that looks at one node after the other: simple, and slow on many nodes."""

    name: ClassVar[str]
    events: ClassVar[frozenset[ClusterEvent]]
    static: ClassVar[bool] = False

    @abstractmethod
    def reject(self, pod: PodClass, node: NodeRow, columns: Columns) -> str:
        """Why the pod cannot run on this node, or ''."""

    def concerns(self, pod: PodClass) -> bool:
        """Whether any node can be rejected for this pod; asked once a cycle."""
        return True

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Ask about every node."""
        rejected: dict[str, Bools] = {}
        if self.concerns(pod):
            for node in columns.nodes.values():
                reason = self.reject(pod, node, columns)
                if reason:
                    none = np.zeros(columns.size, np.bool_)
                    rejected.setdefault(reason, none)[node.row] = True
        return list(rejected.items())


def lower_is_better(raw: Floats, feasible: Bools) -> Floats:
    """0..100 from counts of drawbacks, the largest among feasible nodes getting 0."""
    most = float(raw[feasible].max(initial=0.0))
    return np.full_like(raw, 100.0) if most <= 0 else 100.0 - raw * (100.0 / most)


def higher_is_better(raw: Floats, feasible: Bools) -> Floats | None:
    """0..100 from merits; None when no feasible node has any."""
    most = float(raw[feasible].max(initial=0.0))
    return None if most <= 0 else raw * (100.0 / most)
