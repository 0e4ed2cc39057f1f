"""Pods that meet ahead of a cycle: nothing is done twice, and nobody is remembered who left."""

from __future__ import annotations

import gc

import pytest

from common.api.labels import Requirement, Selector
from common.api.types.core_v1 import TopologySpreadConstraint
from common.api.types.meta_v1 import LabelSelector
from master.scheduler.columns import Columns
from master.scheduler.podmatches import PODS_KEPT
from master.scheduler.podterms import Term
from tests.unit.scheduler.test_inter_pod_affinity import PLUGIN, apart, near, term, with_db
from tests.unit.scheduler.test_plugins import ZONE, rejected, zones
from tests.unit.scheduler.world import pod

CROWD = 50


def crowded() -> Columns:
    """Fifty classes of pods that keep a pod of theirs away."""
    columns = with_db()
    for number in range(CROWD):
        columns.put_pod(apart(f"there{number}", term(f"a{number}")), "b1")
    return columns


def matches(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One item for each time that labels are matched."""
    seen: list[None] = []
    real = Selector.matches
    monkeypatch.setattr(Selector, "matches", lambda s, own: seen.append(None) or real(s, own))
    return seen


def test_a_cycle_that_was_prepared_matches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, wanted = crowded(), near("p", term(), labels={"app": "a7"})
    unprepared = rejected(PLUGIN, wanted, columns)
    columns = crowded()
    pieces = sum(1 for _ in columns.prepare(wanted.shape))
    assert pieces == CROWD + 1
    seen = matches(monkeypatch)
    assert rejected(PLUGIN, wanted, columns) == unprepared
    assert unprepared
    assert not seen
    assert not list(columns.prepare(wanted.shape)), "all are met"


def test_who_comes_and_goes_meanwhile_is_met_and_not_remembered() -> None:
    columns, wanted = crowded(), pod("p", labels={"app": "new"})
    pieces = columns.prepare(wanted.shape)
    next(pieces)
    for number in range(CROWD):
        columns.remove_pod(f"default/there{number}")
    columns.put_pod(apart("late", term("new")), "a1")
    assert not list(pieces)
    assert rejected(PLUGIN, wanted, columns), "the late one keeps it away"
    columns.remove_pod("default/late")
    assert not rejected(PLUGIN, wanted, columns)
    known = columns.pod_matches
    assert not known._terms
    assert not any(one.matches for one in known._pods.values())


def test_few_pods_in_hand_are_kept() -> None:
    columns = crowded()
    for number in range(PODS_KEPT + 5):
        rejected(PLUGIN, pod(f"p{number}", labels={"app": f"x{number}"}), columns)
    assert len(columns.pod_matches._pods) == PODS_KEPT


def test_classes_are_counted_ahead_and_a_number_that_is_free_again_is_read_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = zones()
    constraint = TopologySpreadConstraint(
        maxSkew=1,
        topologyKey=ZONE,
        whenUnsatisfiable="DoNotSchedule",
        labelSelector=LabelSelector(matchLabels={"app": "x"}),
    )
    wanted = pod("p", labels={"app": "x"}, topologySpreadConstraints=(constraint,))
    columns.put_pod(pod("other", labels={"app": "y"}), "a1")
    columns.put_pod(pod("foreign", namespace="far", labels={"app": "x"}), "a1")
    assert sum(1 for _ in columns.prepare(wanted.shape)) == 2
    with monkeypatch.context() as patched:
        seen = matches(patched)
        [counted] = columns.counting(wanted.shape)
        assert not seen
    assert not counted.any()
    columns.remove_pod("default/other")
    columns.put_pod(pod("same", labels={"app": "x"}), "b1")
    [counted] = columns.counting(wanted.shape)
    assert counted.tolist() == [float(name == "b1") for name in columns.names]


def test_terms_are_no_work_for_the_garbage_collector() -> None:
    columns, wanted = crowded(), pod("p", labels={"app": "a7"})
    for _ in columns.prepare(wanted.shape):
        pass
    gc.collect()
    read = sum(len(terms.all) for terms in columns.pod_matches._terms.values())
    walked = [one for one in gc.get_objects() if isinstance(one, Term | Selector | Requirement)]
    assert read == CROWD
    assert not walked, "a full collection holds the event loop up for as long as it walks them"
