"""Spread pods of a kind over nodes, zones or any other topology.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from common.api import labels
from common.api.labels import Requirement, Selector
from common.api.types.core_v1 import TopologySpreadConstraint
from master.scheduler import affinity
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass
from master.scheduler.tolerations import untolerated
from master.scheduler.topology import domains

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
NOT_MATCHED = "node(s) didn't match pod topology spread constraints"


class _Soft(NamedTuple):
    """A constraint for scoring, and the pods that it counts on each node."""

    topology_key: str
    max_skew: int
    pods: Floats


class PodTopologySpread:
    """Hard constraints rule out; soft ones, or those that every managed pod has, score."""

    name: ClassVar[str] = "PodTopologySpread"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {
            ClusterEvent.NODE_ADDED,
            ClusterEvent.NODE_LABELS,
            ClusterEvent.NODE_TAINTS,
            ClusterEvent.POD_ADDED,
            ClusterEvent.POD_REMOVED,
        }
    )
    static: ClassVar[bool] = False

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Nodes whose domain would be ahead of the emptiest one by more than maxSkew."""
        hard = [c for c in pod.spread if c.whenUnsatisfiable == "DoNotSchedule"]
        if not hard:
            return []
        keyed, eligible = _with_all_keys(hard, columns), _Eligible(pod, columns)
        skewed = np.zeros(columns.size, np.bool_)
        for constraint in hard:
            skewed |= _skewed(constraint, pod, columns, keyed & eligible.of(constraint))
        missing = f"{NOT_MATCHED} (missing required label)"
        return [(missing, ~keyed), (NOT_MATCHED, skewed & keyed)]

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """Nodes in domains with fewer pods are better."""
        soft = [c for c in pod.spread if c.whenUnsatisfiable == "ScheduleAnyway"]
        if pod.spread:
            wanted = _explicit(soft, pod, columns)
            counted = feasible & _with_all_keys(soft, columns)
        else:
            wanted = _by_default(pod, columns)
            counted = feasible
        if not wanted or not counted.any():
            return None
        found = _crowding(wanted[0], columns, counted)
        for constraint in wanted[1:]:
            found += _crowding(constraint, columns, counted)
        np.rint(found, out=found)
        seen = found if counted.all() else found[counted]
        low, high = float(seen.min()), float(seen.max())
        if high == 0:
            return np.where(counted, 100.0, 0.0)
        scores: Floats = (high + low - found) * (100.0 / high)
        return np.where(counted, scores, 0.0) if pod.spread else scores


def _with_all_keys(constraints: list[TopologySpreadConstraint], columns: Columns) -> Bools:
    found = columns.valid.copy()
    for constraint in constraints:
        found &= columns.label(constraint.topologyKey) > 0
    return found


def _selector(constraint: TopologySpreadConstraint, pod: PodClass) -> Selector:
    """The constraint's selector, narrowed by the pod's own values of matchLabelKeys."""
    selector = labels.from_label_selector(constraint.labelSelector)
    own = dict(pod.labels)
    more = tuple(
        Requirement(key, "in", (own[key],)) for key in constraint.matchLabelKeys if key in own
    )
    return Selector(selector.requirements + more)


def _matching(selector: Selector, pod: PodClass, columns: Columns) -> Floats:
    """How many pods of the pod's namespace match, on each node."""
    found = [
        index
        for (namespace, pairs, _), index in columns.classes.items()
        if namespace == pod.namespace and selector.matches(dict(pairs))
    ]
    pods: Floats = columns.counts[found].sum(axis=0, dtype=np.float64)
    return pods


class _Eligible:
    """The nodes that count for a pod; what its constraints have in common is found once."""

    def __init__(self, pod: PodClass, columns: Columns) -> None:
        self._pod = pod
        self._columns = columns

    def of(self, constraint: TopologySpreadConstraint) -> Bools:
        """By nodeAffinityPolicy (Honor) and nodeTaintsPolicy (Ignore)."""
        found = self._columns.valid.copy()
        if constraint.nodeAffinityPolicy != "Ignore":
            found &= self._allowed
        if constraint.nodeTaintsPolicy == "Honor":
            found &= self._tolerated
        return found

    @cached_property
    def _allowed(self) -> Bools:
        return affinity.required(self._pod, self._columns)

    @cached_property
    def _tolerated(self) -> Bools:
        return ~untolerated(self._pod.tolerations, self._columns)


def _skewed(
    constraint: TopologySpreadConstraint, pod: PodClass, columns: Columns, among: Bools
) -> Bools:
    """The nodes where one more pod would break a hard constraint, of those that count."""
    selector = _selector(constraint, pod)
    key = constraint.topologyKey
    pods = domains(key, columns, _matching(selector, pod, columns) * among)
    present = domains(key, columns, among) > 0
    few = int(present.sum()) < (constraint.minDomains or 1)
    least = 0.0 if few else float(pods[present].min(initial=math.inf))
    own = 1 if selector.matches(dict(pod.labels)) else 0
    there = pods[columns.label(key)]
    skewed: Bools = there + own - least > constraint.maxSkew
    return skewed


def _explicit(soft: list[TopologySpreadConstraint], pod: PodClass, columns: Columns) -> list[_Soft]:
    keyed, eligible = _with_all_keys(soft, columns), _Eligible(pod, columns)
    return [
        _Soft(
            constraint.topologyKey,
            constraint.maxSkew,
            _matching(_selector(constraint, pod), pod, columns) * (keyed & eligible.of(constraint)),
        )
        for constraint in soft
    ]


def _by_default(pod: PodClass, columns: Columns) -> list[_Soft]:
    """What pods of a controller get: over nodes, and less strictly over zones."""
    index = columns.classes.get((pod.namespace, pod.labels, pod.owner))
    if not pod.owner or index is None:
        return []
    pods = columns.counts[index].astype(np.float64)
    return [
        _Soft(HOSTNAME, 3, pods),
        _Soft(ZONE, 5, pods),
    ]


def _crowding(constraint: _Soft, columns: Columns, counted: Bools) -> Floats:
    """Pods in a node's domain, weighted so that many small domains count like few large ones."""
    key = constraint.topology_key
    skew = constraint.max_skew - 1
    if key == HOSTNAME:
        there = constraint.pods * math.log(np.count_nonzero(counted) + 2)
        there += skew
        there *= columns.label(key) > 0
        return there
    size = np.count_nonzero(domains(key, columns, counted))
    pods = domains(key, columns, constraint.pods)
    pods = pods * math.log(size + 2) + skew
    pods[0] = 0.0
    return pods[columns.label(key)]
