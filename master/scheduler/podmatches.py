"""Which pods match which terms of pod affinity and spread constraints, by their labels. Pure.

A pod that is to be placed is compared with every class of pods that is there: whose labels its
terms match, whose terms match its labels, and which its spread constraints count. The answers never
change, so each is worked out once for a pod, and ahead of its cycle in small pieces: a thousand
classes of sixteen terms each would hold the event loop up for long.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from master.scheduler.pod import PodClass
from master.scheduler.podterms import Spread, Terms, spread_of, terms_of

PODS_KEPT = 8
"""How many pods that are to be placed are remembered: one of each lane, and the next ones."""
LabelClass = tuple[str, tuple[tuple[str, str], ...], str]
"""Namespace, labels and owner of pods."""


class Matches(NamedTuple):
    """Which terms of a pod match a class of pods that is there, and the other way round."""

    own: frozenset[int]
    """The numbers, in `Terms.all`, of the pod's terms that match the class."""
    others: frozenset[int]
    """The same of the class's terms that match the pod."""


class _Known(NamedTuple):
    """A pod that is to be placed: what it was compared with, and which constraints count what."""

    namespace: str
    terms: Terms
    spread: tuple[Spread, ...]
    matches: dict[PodClass, Matches]
    counted: dict[int, frozenset[int]]


class PodMatches:
    """Those of the pods that are to be placed. Classes that are gone must be forgotten."""

    def __init__(self) -> None:
        self._pods: OrderedDict[PodClass, _Known] = OrderedDict()
        self._terms: dict[PodClass, Terms] = {}

    def prepare(
        self, pod: PodClass, others: Mapping[PodClass, object], classes: Mapping[LabelClass, int]
    ) -> Iterator[None]:
        """Match others and count classes, one between two turns; both may change."""
        known = self._known(pod)
        for key, index in list(classes.items()) if known.spread else ():
            if classes.get(key) == index and index not in known.counted:
                self._count(known, key, index)
                yield
        for other in list(others):
            if other in others and other not in known.matches:
                self._match(pod, known, other)
                yield

    def of(self, pod: PodClass, others: Iterable[PodClass]) -> Iterator[tuple[PodClass, Matches]]:
        """Each of the others, with how it and the pod match."""
        known = self._known(pod)
        for other in others:
            yield other, known.matches.get(other) or self._match(pod, known, other)

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
            known.matches.pop(gone, None)

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

    def _match(self, pod: PodClass, known: _Known, other: PodClass) -> Matches:
        its = self.terms(other) if other.attached else None
        of_other = _about(its, pod) if its is not None else frozenset()
        match = Matches(_about(known.terms, other), of_other)
        known.matches[other] = match
        return match

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
