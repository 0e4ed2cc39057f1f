"""What a class of pods says about pods beside it. Pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from common.api import labels
from common.api.labels import Requirement, Selector
from common.api.types.core_v1 import (
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    TopologySpreadConstraint,
)
from common.api.types.meta_v1 import LabelSelector
from master.scheduler.pod import PodClass

REQUIRED_WEIGHT = 1
"""Of a required term of a pod that is there, for the pods that it wants near."""


class Term(msgspec.Struct, frozen=True, gc=False):
    """A term, read: in which domain, about the pods of which namespaces, with which labels."""

    topology_key: str
    names: frozenset[str]
    namespaces: Selector | None
    selector: Selector
    weight: float
    """What it adds to the score of a node: its own, and others' once the pod is there."""


class Terms(NamedTuple):
    """All that a class of pods says about pods beside it: ranges of one list."""

    all: tuple[Term, ...]
    near: range
    apart: range
    preferred: range


def terms_of(pod: PodClass) -> Terms:
    """The terms of a class of pods."""
    near = [_term(term, pod, REQUIRED_WEIGHT) for term in _required(_affinity(pod))]
    apart = [_term(term, pod) for term in _required(_anti_affinity(pod))]
    preferred = [_term(term, pod, weight) for weight, term in _preferred(pod)]
    first, second = len(near), len(near) + len(apart)
    terms = (*near, *apart, *preferred)
    return Terms(terms, range(first), range(first, second), range(second, len(terms)))


class Spread(NamedTuple):
    """A topology spread constraint, and the selector of the pods that it counts, read."""

    constraint: TopologySpreadConstraint
    selector: Selector


def spread_of(pod: PodClass) -> tuple[Spread, ...]:
    """The constraints of a class of pods, in their order."""
    return tuple(
        Spread(one, _narrowed(one.labelSelector, pod, one.matchLabelKeys)) for one in pod.spread
    )


def _term(term: PodAffinityTerm, owner: PodClass, weight: float = 0) -> Term:
    """Namespaces are those that are named or selected; the owner's own without a word of either."""
    names, selected = frozenset(term.namespaces), None
    if term.namespaceSelector is not None:
        selected = labels.from_label_selector(term.namespaceSelector)
    elif not names:
        names = frozenset({owner.namespace})
    selector = _narrowed(term.labelSelector, owner, term.matchLabelKeys, term.mismatchLabelKeys)
    return Term(term.topologyKey, names, selected, selector, weight)


def _narrowed(
    given: LabelSelector | None,
    owner: PodClass,
    match_keys: tuple[str, ...],
    mismatch_keys: tuple[str, ...] = (),
) -> Selector:
    """A selector, narrowed by the owner's own values of (mis)matchLabelKeys."""
    selector, own = labels.from_label_selector(given), dict(owner.labels)
    more = tuple(
        Requirement(key, operator, (own[key],))
        for keys, operator in ((match_keys, "in"), (mismatch_keys, "notin"))
        for key in keys
        if key in own
    )
    return Selector(selector.requirements + more) if more else selector


def _affinity(pod: PodClass) -> PodAffinity | None:
    return pod.affinity.podAffinity if pod.affinity is not None else None


def _anti_affinity(pod: PodClass) -> PodAntiAffinity | None:
    return pod.affinity.podAntiAffinity if pod.affinity is not None else None


def _required(affinity: PodAffinity | PodAntiAffinity | None) -> tuple[PodAffinityTerm, ...]:
    return affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else ()


def _preferred(pod: PodClass) -> Iterator[tuple[float, PodAffinityTerm]]:
    """(weight, term); the weight of a place to avoid is below zero."""
    for sign, affinity in ((1, _affinity(pod)), (-1, _anti_affinity(pod))):
        weighted = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else ()
        for one in weighted:
            yield sign * one.weight, one.podAffinityTerm
