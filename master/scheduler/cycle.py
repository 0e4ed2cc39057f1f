"""One scheduling cycle: filter, score, choose. Synchronous and pure but for its own caches.

What depends on a pod's class and on the nodes' own properties only is kept until a node changes,
so that the thousandth pod of a ReplicaSet costs a few vector operations.
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Filter, Rejections, Score
from master.scheduler.pod import PodClass, PodInfo

CACHED_CLASSES = 256
NO_NODES = "no nodes available to schedule pods"


class Rejection(NamedTuple):
    """Why no node fits: how many nodes each reason rules out, and what can cure it."""

    nodes: int
    reasons: dict[str, int]
    cures: frozenset[ClusterEvent]

    def __str__(self) -> str:
        """Kubernetes' words: `0/3 nodes are available: 1 ..., 2 Insufficient cpu.`"""
        if not self.nodes:
            return NO_NODES
        reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in self.reasons.items()))
        return f"0/{self.nodes} nodes are available: {reasons}."


class Decision(NamedTuple):
    """A node's name, or why there is none."""

    node: str
    rejection: Rejection | None = None


class Step(NamedTuple):
    """What one plugin rules out, the nodes that were left when its turn came, and the cures."""

    cures: frozenset[ClusterEvent]
    before: Bools
    rejections: Rejections


class _Static(NamedTuple):
    """The kept answer of the static filters for a class of pods."""

    version: int
    alive: Bools
    steps: list[Step]


class Cycle:
    """Decides about one pod after the other on columns, and notes what it has decided there."""

    def __init__(
        self,
        columns: Columns,
        filters: Sequence[Filter],
        scores: Sequence[tuple[Score, float]],
    ) -> None:
        self.columns = columns
        self._static_filters = [plugin for plugin in filters if plugin.static]
        self._filters = [plugin for plugin in filters if not plugin.static]
        self._scores = scores
        self._cache: OrderedDict[PodClass, _Static] = OrderedDict()

    def schedule(self, pod: PodInfo) -> Decision:
        """The best node for a pod; the columns are not changed."""
        alive, steps = self.filter(pod)
        if not alive.any():
            return Decision("", self.explain(steps))
        return Decision(self.columns.names[self.best(pod, alive)])

    def filter(self, pod: PodInfo) -> tuple[Bools, list[Step]]:
        """The rows that a pod may go to, and what rules the others out."""
        static = self._static(pod.shape)
        alive, steps = _run(self._filters, pod.shape, self.columns, static.alive)
        return alive, [*static.steps, *steps]

    def explain(self, steps: Sequence[Step]) -> Rejection:
        """Why no node is left."""
        return _explain(self.columns, steps)

    def best(self, pod: PodInfo, alive: Bools, more: Floats | None = None) -> int:
        """The row with the highest score, `more` added; of equals one that the pod's uid picks."""
        total = np.zeros(self.columns.size, np.float64)
        for plugin, weight in self._scores:
            scores = plugin.score(pod.shape, self.columns, alive)
            if scores is not None:
                scores *= weight
                total += scores
        if more is not None:
            total += more
        total[~alive] = -1.0
        # Of equal nodes not the first: else all pods of different kinds would begin on one node.
        # Not at random either: by the uid, the same cluster and pod get the same answer.
        best = np.flatnonzero(total >= total.max() - 1e-9)
        return int(best[zlib.crc32(pod.uid.encode()) % len(best)])

    def assume(self, pod: PodInfo, node: str) -> None:
        """Reserve: the pod takes its room before it is bound."""
        self.columns.put_pod(pod, node)

    def forget(self, pod: PodInfo) -> None:
        """The binding has failed: the room is free again."""
        self.columns.remove_pod(pod.key)

    def _static(self, shape: PodClass) -> _Static:
        columns = self.columns
        kept = self._cache.get(shape)
        if kept is None or kept.version != columns.static_version:
            alive, steps = _run(self._static_filters, shape, columns, columns.valid.copy())
            kept = _Static(columns.static_version, alive, steps)
            self._cache[shape] = kept
            if len(self._cache) > CACHED_CLASSES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(shape)
        return kept


def _run(
    filters: Sequence[Filter], shape: PodClass, columns: Columns, alive: Bools
) -> tuple[Bools, list[Step]]:
    """The nodes that are left, and what each filter had to say."""
    steps: list[Step] = []
    for plugin in filters:
        rejections = plugin.filter(shape, columns)
        if rejections:
            steps.append(Step(plugin.events, alive, rejections))
        for _, rejected in rejections:
            alive = alive & ~rejected
    return alive, steps


def _explain(columns: Columns, steps: Sequence[Step]) -> Rejection:
    """Count each node under the first plugin that ruled it out, with all that plugin's reasons."""
    reasons: Counter[str] = Counter()
    cures: set[ClusterEvent] = {ClusterEvent.NODE_ADDED}
    for events, before, rejections in steps:
        for reason, rejected in rejections:
            count = int(np.count_nonzero(before & rejected))
            if count:
                reasons[reason] += count
                cures |= events
    return Rejection(len(columns.nodes), dict(reasons), frozenset(cures))
