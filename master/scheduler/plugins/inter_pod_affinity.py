"""Pods near pods, or away from them, in any topology.

Source: pkg/scheduler/framework/plugins/interpodaffinity of Kubernetes and
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np

from common.api import labels
from common.api.labels import Requirement, Selector
from common.api.types.core_v1 import PodAffinity, PodAffinityTerm, PodAntiAffinity
from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass
from master.scheduler.topology import of_domain

NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"
REQUIRED_WEIGHT = 1
"""What a required term of a pod that is there adds for the pods that it wants near."""

Terms = tuple[PodAffinityTerm, ...]


class InterPodAffinity:
    """Required terms rule out, and so do those of pods that are there; preferred terms score."""

    name: ClassVar[str] = "InterPodAffinity"
    events: ClassVar[frozenset[ClusterEvent]] = frozenset(
        {
            ClusterEvent.NODE_ADDED,
            ClusterEvent.NODE_LABELS,
            ClusterEvent.POD_ADDED,
            ClusterEvent.POD_REMOVED,
        }
    )
    static: ClassVar[bool] = False

    def filter(self, pod: PodClass, columns: Columns) -> Rejections:
        """Each node by the first of the three reasons that rules it out."""
        found: Rejections = []
        before = None
        for reason, rejected in _rejections(pod, columns):
            found.append((reason, rejected if before is None else rejected & ~before))
            before = rejected if before is None else rejected | before
        return found

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """By the weights of preferred terms: of the pod's own, and of pods that are there."""
        parts = list(_opinions(pod, columns))
        if not parts:
            return None
        raw: Floats = np.add.reduce(parts)
        seen = raw[feasible]
        low, high = float(seen.min()), float(seen.max())
        return None if low == high else (raw - low) * (100.0 / (high - low))


def _rejections(pod: PodClass, columns: Columns) -> Iterator[tuple[str, Bools]]:
    if near := _required(_affinity(pod)):
        yield NOT_NEAR, ~_is_near(near, pod, columns)
    for term in _required(_anti_affinity(pod)):
        meant = [other for other in columns.crowds if _means(term, pod, other, columns)]
        yield TOO_NEAR, of_domain(term.topologyKey, columns, _crowd(meant, columns)) > 0
    for other in columns.attached:
        for term in _required(_anti_affinity(other)):
            if _means(term, other, pod, columns):
                crowd = _crowd([other], columns)
                yield KEPT_AWAY, of_domain(term.topologyKey, columns, crowd) > 0


def _opinions(pod: PodClass, columns: Columns) -> Iterator[Floats]:
    """What each preferred term, of the pod or of one that is there, says for and against nodes."""
    for weight, term in _preferred(pod):
        meant = [other for other in columns.crowds if _means(term, pod, other, columns)]
        yield weight * of_domain(term.topologyKey, columns, _crowd(meant, columns))
    for other in columns.attached:
        for weight, term in (*_preferred(other), *_wanted_near(other)):
            if _means(term, other, pod, columns):
                yield weight * of_domain(term.topologyKey, columns, _crowd([other], columns))


def _is_near(terms: Terms, pod: PodClass, columns: Columns) -> Bools:
    """The nodes in whose domains, by each of the terms, are pods that all of them mean.

    The first pod of a group that wants to be together may go anywhere.
    """
    meant = [o for o in columns.crowds if all(_means(term, pod, o, columns) for term in terms)]
    crowd = _crowd(meant, columns)
    there = [of_domain(term.topologyKey, columns, crowd) > 0 for term in terms]
    if not np.any(there) and all(_means(term, pod, pod, columns) for term in terms):
        there = [columns.label(term.topologyKey) > 0 for term in terms]
    near: Bools = np.logical_and.reduce(there)
    return near


def _means(term: PodAffinityTerm, owner: PodClass, other: PodClass, columns: Columns) -> bool:
    """Whether pods of a class are among those that a term of another one's pods is about."""
    if other.namespace not in _namespaces(term, owner, columns):
        return False
    return _selector(term, owner).matches(dict(other.labels))


def _namespaces(term: PodAffinityTerm, owner: PodClass, columns: Columns) -> set[str]:
    """Those that are named or selected; the owner's own without a word of either."""
    found = set(term.namespaces)
    if term.namespaceSelector is not None:
        selector = labels.from_label_selector(term.namespaceSelector)
        found |= {name for name, its in columns.namespaces.items() if selector.matches(its)}
    elif not found:
        found.add(owner.namespace)
    return found


def _selector(term: PodAffinityTerm, owner: PodClass) -> Selector:
    """The term's selector, narrowed by the owner's own values of (mis)matchLabelKeys."""
    selector, own = labels.from_label_selector(term.labelSelector), dict(owner.labels)
    more = tuple(
        Requirement(key, operator, (own[key],))
        for keys, operator in ((term.matchLabelKeys, "in"), (term.mismatchLabelKeys, "notin"))
        for key in keys
        if key in own
    )
    return Selector(selector.requirements + more) if more else selector


def _crowd(classes: Iterable[PodClass], columns: Columns) -> Floats:
    """How many pods of some classes are on each node."""
    found = np.zeros(columns.size, np.float64)
    for one in classes:
        for row, count in columns.crowds[one].items():
            found[row] += count
    return found


def _affinity(pod: PodClass) -> PodAffinity | None:
    return pod.affinity.podAffinity if pod.affinity is not None else None


def _anti_affinity(pod: PodClass) -> PodAntiAffinity | None:
    return pod.affinity.podAntiAffinity if pod.affinity is not None else None


def _required(affinity: PodAffinity | PodAntiAffinity | None) -> Terms:
    return affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else ()


def _preferred(pod: PodClass) -> Iterator[tuple[float, PodAffinityTerm]]:
    """(weight, term); the weight of a place to avoid is below zero."""
    for sign, affinity in ((1, _affinity(pod)), (-1, _anti_affinity(pod))):
        weighted = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else ()
        for one in weighted:
            yield sign * one.weight, one.podAffinityTerm


def _wanted_near(pod: PodClass) -> Iterator[tuple[float, PodAffinityTerm]]:
    for term in _required(_affinity(pod)):
        yield REQUIRED_WEIGHT, term
