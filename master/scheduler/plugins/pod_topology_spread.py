"""Spread pods of a kind over nodes, zones or any other topology.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from common.api.labels import Selector
from common.api.types.core_v1 import TopologySpreadConstraint
from common.api.wellknown import HOSTNAME
from master.scheduler import affinity
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass
from master.scheduler.tolerations import untolerated
from master.scheduler.topology import domains

ZONE = "topology.kubernetes.io/zone"
NOT_MATCHED = "node(s) didn't match pod topology spread constraints"


class _Counted(NamedTuple):
    """A constraint of a pod's, and how many pods it counts on each node."""

    constraint: TopologySpreadConstraint
    selector: Selector
    pods: Floats


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
        hard = _counted("DoNotSchedule", pod, columns)
        if not hard:
            return []
        keyed, eligible = _with_all_keys(hard, columns), _Eligible(pod, columns)
        skewed = np.zeros(columns.size, np.bool_)
        for one in hard:
            skewed |= _skewed(one, pod, columns, keyed & eligible.of(one.constraint))
        missing = f"{NOT_MATCHED} (missing required label)"
        return [(missing, ~keyed), (NOT_MATCHED, skewed & keyed)]

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """Nodes in domains with fewer pods are better."""
        soft = _counted("ScheduleAnyway", pod, columns)
        if pod.spread:
            wanted = _explicit(soft, pod, columns)
            counted = feasible & _with_all_keys(soft, columns)
        else:
            wanted = _by_default(pod, columns)
            counted = feasible
        if not wanted or not counted.any():
            return None
        pods = _weighted_pods(wanted[0], columns, counted)
        for constraint in wanted[1:]:
            pods += _weighted_pods(constraint, columns, counted)
        np.rint(pods, out=pods)
        seen = pods if counted.all() else pods[counted]
        low, high = float(seen.min()), float(seen.max())
        if high == 0:
            return np.where(counted, 100.0, 0.0)
        scores: Floats = (high + low - pods) * (100.0 / high)
        return np.where(counted, scores, 0.0) if pod.spread else scores


def _counted(kind: str, pod: PodClass, columns: Columns) -> list[_Counted]:
    """The pod's constraints of one kind, with what they count."""
    if not any(one.whenUnsatisfiable == kind for one in pod.spread):
        return []
    pairs = zip(columns.pod_matches.spread(pod), columns.counting(pod), strict=True)
    return [
        _Counted(one.constraint, one.selector, pods)
        for one, pods in pairs
        if one.constraint.whenUnsatisfiable == kind
    ]


def _with_all_keys(constraints: list[_Counted], columns: Columns) -> Bools:
    rows = columns.valid.copy()
    for one in constraints:
        rows &= columns.label(one.constraint.topologyKey) > 0
    return rows


class _Eligible:
    """The nodes that count for a pod; what its constraints have in common is found once."""

    def __init__(self, pod: PodClass, columns: Columns) -> None:
        self._pod = pod
        self._columns = columns

    def of(self, constraint: TopologySpreadConstraint) -> Bools:
        """By nodeAffinityPolicy (Honor) and nodeTaintsPolicy (Ignore)."""
        rows = self._columns.valid.copy()
        if constraint.nodeAffinityPolicy != "Ignore":
            rows &= self._allowed
        if constraint.nodeTaintsPolicy == "Honor":
            rows &= self._tolerated
        return rows

    @cached_property
    def _allowed(self) -> Bools:
        return affinity.required(self._pod, self._columns)

    @cached_property
    def _tolerated(self) -> Bools:
        return ~untolerated(self._pod.tolerations, self._columns)


def _skewed(hard: _Counted, pod: PodClass, columns: Columns, among: Bools) -> Bools:
    """The nodes where one more pod would break a hard constraint, of those that count."""
    constraint = hard.constraint
    key = constraint.topologyKey
    pods = domains(key, columns, hard.pods * among)
    present = domains(key, columns, among) > 0
    few = int(present.sum()) < (constraint.minDomains or 1)
    least = 0.0 if few else float(pods[present].min(initial=math.inf))
    own = 1 if hard.selector.matches(dict(pod.labels)) else 0
    there = pods[columns.label(key)]
    skewed: Bools = there + own - least > constraint.maxSkew
    return skewed


def _explicit(soft: list[_Counted], pod: PodClass, columns: Columns) -> list[_Soft]:
    keyed, eligible = _with_all_keys(soft, columns), _Eligible(pod, columns)
    return [
        _Soft(
            one.constraint.topologyKey,
            one.constraint.maxSkew,
            one.pods * (keyed & eligible.of(one.constraint)),
        )
        for one in soft
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


def _weighted_pods(constraint: _Soft, columns: Columns, counted: Bools) -> Floats:
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
