"""Pods near pods, or away from them, in any topology.

Source: pkg/scheduler/framework/plugins/interpodaffinity of Kubernetes and
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import ClassVar, NamedTuple

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


class _Term(NamedTuple):
    """A term, read: in which domain, about the pods of which namespaces, with which labels."""

    topology_key: str
    names: frozenset[str]
    namespaces: Selector | None
    selector: Selector
    weight: float


class _Terms(NamedTuple):
    """All that a class of pods says about pods beside it."""

    near: tuple[_Term, ...]
    apart: tuple[_Term, ...]
    preferred: tuple[_Term, ...]
    opinions: tuple[_Term, ...]
    """What counts for and against others' nodes once the pod is there."""


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
    own, others = _terms(pod), _Others(columns)
    if own.near:
        yield NOT_NEAR, ~_is_near(own.near, pod, others)
    for term in own.apart:
        yield TOO_NEAR, of_domain(term.topology_key, columns, others.meant(term)) > 0
    labels_of_pod = dict(pod.labels)
    for other in columns.attached:
        for term in _terms(other).apart:
            if _means(term, pod.namespace, labels_of_pod, columns):
                crowd = _crowd([other], columns)
                yield KEPT_AWAY, of_domain(term.topology_key, columns, crowd) > 0


def _opinions(pod: PodClass, columns: Columns) -> Iterator[Floats]:
    """What each preferred term, of the pod or of one that is there, says for and against nodes."""
    others = _Others(columns)
    for term in _terms(pod).preferred:
        yield term.weight * of_domain(term.topology_key, columns, others.meant(term))
    labels_of_pod = dict(pod.labels)
    for other in columns.attached:
        for term in _terms(other).opinions:
            if _means(term, pod.namespace, labels_of_pod, columns):
                crowd = _crowd([other], columns)
                yield term.weight * of_domain(term.topology_key, columns, crowd)


class _Others:
    """The classes of pods that are there, their labels read once for all terms."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    @cached_property
    def _labels(self) -> list[tuple[PodClass, dict[str, str]]]:
        return [(other, dict(other.labels)) for other in self.columns.crowds]

    def meant(self, *terms: _Term) -> Floats:
        """How many pods that all of some terms are about are on each node."""
        found = [
            other
            for other, its in self._labels
            if all(_means(term, other.namespace, its, self.columns) for term in terms)
        ]
        return _crowd(found, self.columns)


def _is_near(terms: tuple[_Term, ...], pod: PodClass, others: _Others) -> Bools:
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


def _means(term: _Term, namespace: str, own: Mapping[str, str], columns: Columns) -> bool:
    """Whether pods of a namespace, with labels of their own, are among those it is about."""
    if namespace not in term.names:
        its = columns.namespaces.get(namespace)
        if term.namespaces is None or its is None or not term.namespaces.matches(its):
            return False
    return term.selector.matches(own)


@lru_cache(maxsize=4096)
def _terms(pod: PodClass) -> _Terms:
    """The terms of a class of pods, read once: each is asked about again with every other pod."""
    near, apart = _required(_affinity(pod)), _required(_anti_affinity(pod))
    wanted = ((REQUIRED_WEIGHT, term) for term in near)
    preferred = tuple(_term(term, pod, weight) for weight, term in _preferred(pod))
    return _Terms(
        near=tuple(_term(term, pod) for term in near),
        apart=tuple(_term(term, pod) for term in apart),
        preferred=preferred,
        opinions=(*preferred, *(_term(term, pod, weight) for weight, term in wanted)),
    )


def _term(term: PodAffinityTerm, owner: PodClass, weight: float = 0) -> _Term:
    """Namespaces are those that are named or selected; the owner's own without a word of either."""
    names, selected = frozenset(term.namespaces), None
    if term.namespaceSelector is not None:
        selected = labels.from_label_selector(term.namespaceSelector)
    elif not names:
        names = frozenset({owner.namespace})
    return _Term(term.topologyKey, names, selected, _selector(term, owner), weight)


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
