"""Pods near pods, or away from them, in any topology.

Source: pkg/scheduler/framework/plugins/interpodaffinity of Kubernetes and
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from master.scheduler.columns import Bools, Columns, Floats
from master.scheduler.framework import ClusterEvent, Rejections
from master.scheduler.pod import PodClass
from master.scheduler.podterms import Term, terms_of
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
        found: Rejections = []
        before = None
        for reason, rejected in _rejections(pod, columns):
            found.append((reason, rejected if before is None else rejected & ~before))
            before = rejected if before is None else rejected | before
        return found

    def score(self, pod: PodClass, columns: Columns, feasible: Bools) -> Floats | None:
        """By the weights of preferred terms: of the pod's own, and of pods that are there."""
        raw: Floats | None = None
        for part in _opinions(pod, columns):
            raw = part if raw is None else raw + part
        if raw is None:
            return None
        seen = raw[feasible]
        low, high = float(seen.min()), float(seen.max())
        return None if low == high else (raw - low) * (100.0 / (high - low))


def _rejections(pod: PodClass, columns: Columns) -> Iterator[tuple[str, Bools]]:
    """For each reason all nodes, once: there may be thousands of terms of pods that are there."""
    if pod.attached:
        own, others = terms_of(pod), _Others(columns)
        if own.near:
            yield NOT_NEAR, ~_is_near(own.near, pod, others)
        near = np.zeros(columns.size, np.bool_)
        for term in own.apart:
            near |= of_domain(term.topology_key, columns, others.meant(term)) > 0
        if near.any():
            yield TOO_NEAR, near
    if columns.attached:
        kept = np.zeros(columns.size, np.bool_)
        for term, other in _of_others("apart", pod, columns):
            kept |= of_domain(term.topology_key, columns, _crowd([other], columns)) > 0
        if kept.any():
            yield KEPT_AWAY, kept


def _opinions(pod: PodClass, columns: Columns) -> Iterator[Floats]:
    """What each preferred term, of the pod or of one that is there, says for and against nodes."""
    if pod.attached:
        others = _Others(columns)
        for term in terms_of(pod).preferred:
            yield term.weight * of_domain(term.topology_key, columns, others.meant(term))
    for term, other in _of_others("opinions", pod, columns):
        yield term.weight * of_domain(term.topology_key, columns, _crowd([other], columns))


def _of_others(
    which: Literal["apart", "opinions"], pod: PodClass, columns: Columns
) -> Iterator[tuple[Term, PodClass]]:
    """The terms about a pod of pods that are there, and whose they are."""
    own = dict(pod.labels)
    for other in columns.attached:
        for term in getattr(terms_of(other), which):
            if _means(term, pod.namespace, own, columns):
                yield term, other


class _Others:
    """The classes of pods that are there, their labels read once for all terms."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    @cached_property
    def _labels(self) -> list[tuple[PodClass, dict[str, str]]]:
        return [(other, dict(other.labels)) for other in self.columns.crowds]

    def meant(self, *terms: Term) -> Floats:
        """How many pods that all of some terms are about are on each node."""
        found = [
            other
            for other, its in self._labels
            if all(_means(term, other.namespace, its, self.columns) for term in terms)
        ]
        return _crowd(found, self.columns)


def _is_near(terms: tuple[Term, ...], pod: PodClass, others: _Others) -> Bools:
    """The nodes in whose domains, by each of the terms, are pods that all of them mean.

    The first pod of a group that wants to be together may go anywhere.
    """
    columns, own = others.columns, dict(pod.labels)
    crowd = others.meant(*terms)
    there = [of_domain(term.topology_key, columns, crowd) > 0 for term in terms]
    if not np.any(there) and all(_means(term, pod.namespace, own, columns) for term in terms):
        there = [columns.label(term.topology_key) > 0 for term in terms]
    near: Bools = np.logical_and.reduce(there)
    return near


def _means(term: Term, namespace: str, own: Mapping[str, str], columns: Columns) -> bool:
    """Whether pods of a namespace, with labels of their own, are among those it is about."""
    if namespace not in term.names:
        its = columns.namespaces.get(namespace)
        if term.namespaces is None or its is None or not term.namespaces.matches(its):
            return False
    return term.selector.matches(own)


def _crowd(classes: Iterable[PodClass], columns: Columns) -> Floats:
    """How many pods of some classes are on each node."""
    found = np.zeros(columns.size, np.float64)
    for one in classes:
        for row, count in columns.crowds[one].items():
            found[row] += count
    return found
