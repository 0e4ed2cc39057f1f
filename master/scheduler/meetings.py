"""What a pod and pods that are there have to do with each other, as far as labels tell. Pure.

A pod meets every class of pods that is there: they are about each other by terms of affinity, and
it counts them by its spread constraints. What comes of that never changes, so that it is worked out
once for each pod in hand, and ahead of its cycle in small pieces: a thousand classes of sixteen
terms each would hold the event loop up for long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from master.scheduler.pod import PodClass
from master.scheduler.podterms import Spread, Terms, spread_of, terms_of

PODS_KEPT = 8
"""Pods in hand: one of each lane, and what a ReplicaSet has more of."""
LabelClass = tuple[str, tuple[tuple[str, str], ...], str]
"""Namespace, labels and owner of pods."""


class Met(NamedTuple):
    """What a pod and a class of pods that is there say of each other."""

    own: frozenset[int]
    """The numbers, in `Terms.all`, of the pod's terms that are about the class."""
    others: frozenset[int]
    """The same of the class's terms that are about the pod."""


class _Known(NamedTuple):
    """A pod in hand, those whom it has met, and by which constraints it counts which."""

    namespace: str
    terms: Terms
    spread: tuple[Spread, ...]
    met: dict[PodClass, Met]
    counted: dict[int, frozenset[int]]


class Meetings:
    """Of the pods in hand. Whoever is not there any more must be forgotten."""

    def __init__(self) -> None:
        self._pods: OrderedDict[PodClass, _Known] = OrderedDict()
        self._terms: dict[PodClass, Terms] = {}

    def prepare(
        self, pod: PodClass, others: Mapping[PodClass, object], classes: Mapping[LabelClass, int]
    ) -> Iterator[None]:
        """Let a pod meet others and count classes, one between two turns; both may change."""
        known = self._known(pod)
        for key, index in list(classes.items()) if known.spread else ():
            if classes.get(key) == index and index not in known.counted:
                self._count(known, key, index)
                yield
        for other in list(others):
            if other in others and other not in known.met:
                self._meet(pod, known, other)
                yield

    def of(self, pod: PodClass, others: Iterable[PodClass]) -> Iterator[tuple[PodClass, Met]]:
        """Each of the others, with what comes of meeting it."""
        known = self._known(pod)
        for other in others:
            yield other, known.met.get(other) or self._meet(pod, known, other)

    def counting(self, pod: PodClass, classes: Mapping[LabelClass, int]) -> list[list[int]]:
        """For each of a pod's spread constraints the numbers of the classes that it counts."""
        known = self._known(pod)
        counts: list[list[int]] = [[] for _ in known.spread]
        for key, index in classes.items() if known.spread else ():
            by = known.counted.get(index)
            for number in self._count(known, key, index) if by is None else by:
                counts[number].append(index)
        return counts

    def spread(self, pod: PodClass) -> tuple[Spread, ...]:
        """The spread constraints of a pod that is to be placed."""
        return self._known(pod).spread

    def terms(self, pod: PodClass) -> Terms:
        """The terms of a class of pods that is there, read once."""
        terms = self._terms.get(pod)
        if terms is None:
            terms = self._terms[pod] = terms_of(pod)
        return terms

    def terms_to_place(self, pod: PodClass) -> Terms:
        """The terms of a pod that is to be placed."""
        return self._known(pod).terms

    def forget(self, gone: PodClass) -> None:
        """No pod of that class is there any more."""
        self._terms.pop(gone, None)
        for known in self._pods.values():
            known.met.pop(gone, None)

    def forget_class(self, gone: int) -> None:
        """The number of a class of labels is free for another."""
        for known in self._pods.values():
            known.counted.pop(gone, None)

    def _known(self, pod: PodClass) -> _Known:
        known = self._pods.get(pod)
        if known is None:
            known = self._pods[pod] = _Known(pod.namespace, terms_of(pod), spread_of(pod), {}, {})
            if len(self._pods) > PODS_KEPT:
                self._pods.popitem(last=False)
        self._pods.move_to_end(pod)
        return known

    def _meet(self, pod: PodClass, known: _Known, other: PodClass) -> Met:
        its = self.terms(other) if other.attached else None
        met = Met(_about(known.terms, other), _about(its, pod) if its is not None else frozenset())
        known.met[other] = met
        return met

    def _count(self, known: _Known, key: LabelClass, index: int) -> frozenset[int]:
        namespace, pairs, _ = key
        own = dict(pairs)
        by: frozenset[int] = frozenset()
        if namespace == known.namespace:
            by = frozenset(n for n, one in enumerate(known.spread) if one.selector.matches(own))
        known.counted[index] = by
        return by


def _about(terms: Terms, pod: PodClass) -> frozenset[int]:
    """The numbers of the terms whose selectors the labels of a class of pods match."""
    if not terms.all:
        return frozenset()
    own = dict(pod.labels)
    return frozenset(n for n, term in enumerate(terms.all) if term.selector.matches(own))
