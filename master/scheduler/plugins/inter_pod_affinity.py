"""Pods near pods, or away from them, in any topology.

Source: pkg/scheduler/framework/plugins/interpodaffinity of Kubernetes and
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np

from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass
from master.scheduler.podterms import Term, Terms
from master.scheduler.topology import of_domain

NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"


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
        rejections: Rejections = []
        before = None
        for reason, rejected in _rejections(pod, columns):
            rejections.append((reason, rejected if before is None else rejected & ~before))
            before = rejected if before is None else rejected | before
        return rejections

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """By the weights of preferred terms: of the pod's own, and of pods that are there."""
        opinions = _preferred(pod, columns)
        if not opinions:
            return None
        raw: Floats = np.add.reduce(opinions)
        seen = raw[feasible]
        low, high = float(seen.min()), float(seen.max())
        return None if low == high else (raw - low) * (100.0 / (high - low))


class _DomainSums:
    """Weighted numbers of pods, by topology key, summed over the domains of each."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._of: dict[str, Floats] = {}

    def add(self, key: str, pods: PodClass, weight: float = 1.0) -> None:
        """Count the pods of a class in."""
        known = self._of.get(key)
        if known is None:
            known = self._of[key] = np.zeros(self._columns.size, np.float64)
        for row, count in self._columns.pods_by_class[pods].items():
            known[row] += weight * count

    def domains(self) -> list[Floats]:
        """For each node the weight of its domain, by one key after the other."""
        return [of_domain(key, self._columns, counts) for key, counts in self._of.items()]


def _rejections(pod: PodClass, columns: Columns) -> Iterator[tuple[str, Bools]]:
    """For each reason all nodes, once: there may be thousands of terms of pods that are there."""
    if not pod.attached and not columns.attached:
        return
    own = columns.pod_matches.terms_to_place(pod)
    near, apart, kept = (_DomainSums(columns) for _ in range(3))
    for other, match in columns.matches(pod):
        meant = set(_reaching(own, match.own, other.namespace, columns))
        if own.near and meant.issuperset(own.near):
            for key in {own.all[number].topology_key for number in own.near}:
                near.add(key, other)
        for number in meant.intersection(own.apart):
            apart.add(own.all[number].topology_key, other)
        if match.others:
            its = columns.pod_matches.terms(other)
            away = match.others.intersection(its.apart)
            for number in _reaching(its, away, pod.namespace, columns):
                kept.add(its.all[number].topology_key, other)
    if own.near:
        yield NOT_NEAR, ~_matches_affinity(pod, own, near, columns)
    for reason, sums in ((TOO_NEAR, apart), (KEPT_AWAY, kept)):
        if counts := sums.domains():
            rejected = np.logical_or.reduce([weights > 0 for weights in counts])
            if rejected.any():
                yield reason, rejected


def _matches_affinity(pod: PodClass, own: Terms, near: _DomainSums, columns: Columns) -> Bools:
    """The nodes in whose domains, by each of the terms, are pods that all of them mean.

    The first pod of a group that wants to be together may go anywhere.
    """
    there = [weights > 0 for weights in near.domains()]
    if not np.any(there):
        terms, labels = [own.all[number] for number in own.near], dict(pod.labels)
        if not all(
            term.selector.matches(labels) and _reaches(term, pod.namespace, columns)
            for term in terms
        ):
            return np.zeros(columns.size, np.bool_)
        there = [columns.label(term.topology_key) > 0 for term in terms]
    matching: Bools = np.logical_and.reduce(there)
    return matching


def _preferred(pod: PodClass, columns: Columns) -> list[Floats]:
    """What the preferred terms, of the pod and of those that are there, say of nodes."""
    if not pod.attached and not columns.attached:
        return []
    own, scores = columns.pod_matches.terms_to_place(pod), _DomainSums(columns)
    for other, match in columns.matches(pod):
        wanted = match.own.intersection(own.preferred)
        for number in _reaching(own, wanted, other.namespace, columns):
            scores.add(own.all[number].topology_key, other, own.all[number].weight)
        if match.others:
            its = columns.pod_matches.terms(other)
            about = match.others.difference(its.apart)
            for number in _reaching(its, about, pod.namespace, columns):
                scores.add(its.all[number].topology_key, other, its.all[number].weight)
    return scores.domains()


def _reaching(
    terms: Terms, numbers: Iterable[int], namespace: str, columns: Columns
) -> Iterator[int]:
    """Those of some terms that are about pods of a namespace."""
    return (number for number in numbers if _reaches(terms.all[number], namespace, columns))


def _reaches(term: Term, namespace: str, columns: Columns) -> bool:
    """Whether a term is about pods of a namespace."""
    if namespace in term.names:
        return True
    its = columns.namespaces.get(namespace)
    return term.namespaces is not None and its is not None and term.namespaces.matches(its)
