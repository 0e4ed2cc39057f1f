"""Affinity and anti-affinity between pods: who is ruled out, in which words, who is preferred."""

from __future__ import annotations

from typing import Any

import pytest

from common.api import labels
from common.api.types.core_v1 import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    WeightedPodAffinityTerm,
)
from common.api.types.meta_v1 import LabelSelector
from master.scheduler.columns import Columns
from master.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from master.scheduler.pod import PodInfo
from tests.unit.scheduler.test_plugins import ZONE, rejected, scores, zones
from tests.unit.scheduler.world import cycle, node_item, place, pod

HOSTNAME = "kubernetes.io/hostname"
NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
KEPT_AWAY = "node(s) didn't satisfy existing pods anti-affinity rules"
PLUGIN = InterPodAffinity()


def term(app: str = "db", key: str = ZONE, **more: Any) -> PodAffinityTerm:
    """Pods with that label, in the same domain."""
    selector = LabelSelector(matchLabels={"app": app})
    return PodAffinityTerm(labelSelector=selector, topologyKey=key, **more)


def near(name: str, *terms: PodAffinityTerm, **more: Any) -> PodInfo:
    """A pod that must be near others."""
    wanted = PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=terms)
    return pod(name, affinity=Affinity(podAffinity=wanted), **more)


def apart(name: str, *terms: PodAffinityTerm, **more: Any) -> PodInfo:
    """A pod that must not be near others."""
    wanted = PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=terms)
    return pod(name, affinity=Affinity(podAntiAffinity=wanted), **more)


def weighted(weight: int, one: PodAffinityTerm) -> tuple[WeightedPodAffinityTerm, ...]:
    return (WeightedPodAffinityTerm(weight=weight, podAffinityTerm=one),)


def with_db(**more: Any) -> Columns:
    """Zone a has a database."""
    columns = zones()
    columns.put_pod(pod("db", labels={"app": "db"}, **more), "a1")
    return columns


def test_near_is_where_such_pods_are_and_the_label_is() -> None:
    assert rejected(PLUGIN, near("p", term()), with_db()) == {NOT_NEAR: {"b1", "none"}}
    assert rejected(PLUGIN, near("p", term("other")), with_db()) == {
        NOT_NEAR: {"a1", "a2", "b1", "none"}
    }
    assert rejected(PLUGIN, pod("p"), with_db()) == {}


def test_all_terms_mean_the_same_pods() -> None:
    columns = with_db()
    columns.put_pod(pod("cache", labels={"app": "cache"}), "a1")
    both = near("p", term("db"), term("cache"))
    assert rejected(PLUGIN, both, columns)[NOT_NEAR] == {"a1", "a2", "b1", "none"}
    columns.put_pod(pod("one", labels={"app": "db", "too": "yes"}), "b1")
    too = PodAffinityTerm(labelSelector=LabelSelector(matchLabels={"too": "yes"}), topologyKey=ZONE)
    assert rejected(PLUGIN, near("p", term("db"), too), columns) == {NOT_NEAR: {"a1", "a2", "none"}}


def test_the_first_of_a_group_may_go_where_the_label_is() -> None:
    first = near("p", term("web"), labels={"app": "web"})
    assert rejected(PLUGIN, first, with_db()) == {NOT_NEAR: {"none"}}


def test_apart_is_where_no_such_pods_are() -> None:
    columns = with_db()
    assert rejected(PLUGIN, apart("p", term()), columns) == {TOO_NEAR: {"a1", "a2"}}
    assert rejected(PLUGIN, apart("p", term(key=HOSTNAME)), columns) == {TOO_NEAR: {"a1"}}
    columns.remove_pod("default/db")
    assert rejected(PLUGIN, apart("p", term()), columns) == {}


def test_pods_on_their_way_out_are_still_there() -> None:
    assert rejected(PLUGIN, apart("p", term()), with_db(deleting=True)) == {TOO_NEAR: {"a1", "a2"}}


def test_a_pod_that_is_there_keeps_others_away() -> None:
    columns = zones()
    columns.put_pod(apart("shy", term("web")), "b1")
    assert rejected(PLUGIN, pod("p", labels={"app": "web"}), columns) == {KEPT_AWAY: {"b1"}}
    assert rejected(PLUGIN, pod("p", labels={"app": "x"}), columns) == {}
    columns.remove_pod("default/shy")
    assert rejected(PLUGIN, pod("p", labels={"app": "web"}), columns) == {}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, False),
        ({"namespaces": ("other",)}, True),
        ({"namespaceSelector": LabelSelector()}, True),
        ({"namespaceSelector": LabelSelector(matchLabels={"team": "a"})}, True),
        ({"namespaceSelector": LabelSelector(matchLabels={"team": "b"})}, False),
        (
            {"namespaces": ("other",), "namespaceSelector": LabelSelector(matchLabels={"x": ""})},
            True,
        ),
    ],
)
def test_namespaces(more: dict[str, Any], found: bool) -> None:
    columns = with_db(namespace="other")
    columns.namespaces = {"default": {}, "other": {"team": "a"}}
    assert (rejected(PLUGIN, apart("p", term(**more)), columns) != {}) == found


def test_own_values_of_label_keys() -> None:
    columns = with_db()
    columns.put_pod(pod("new", labels={"app": "db", "v": "2"}), "b1")
    same = apart("p", term(matchLabelKeys=("v",)), labels={"v": "2"})
    assert rejected(PLUGIN, same, columns) == {TOO_NEAR: {"b1"}}
    other = apart("p", term(mismatchLabelKeys=("v",)), labels={"v": "2"})
    assert rejected(PLUGIN, other, columns) == {TOO_NEAR: {"a1", "a2"}}


def test_preferences_of_the_pod() -> None:
    columns = with_db()
    wanted = PodAffinity(preferredDuringSchedulingIgnoredDuringExecution=weighted(5, term()))
    info = pod("p", affinity=Affinity(podAffinity=wanted))
    assert scores(PLUGIN, info, columns) == {"a1": 100, "a2": 100, "b1": 0, "none": 0}
    away = PodAntiAffinity(
        preferredDuringSchedulingIgnoredDuringExecution=weighted(5, term(key=HOSTNAME))
    )
    info = pod("p", affinity=Affinity(podAntiAffinity=away))
    assert scores(PLUGIN, info, columns) == {"a1": 0, "a2": 100, "b1": 100, "none": 100}
    assert scores(PLUGIN, pod("p"), columns) is None


def test_preferences_of_pods_that_are_there() -> None:
    columns = zones()
    columns.put_pod(near("friend", term("web"), labels={"app": "web"}), "b1")
    found = scores(PLUGIN, pod("p", labels={"app": "web"}), columns)
    assert found == {"a1": 0, "a2": 0, "b1": 100, "none": 0}


def test_replicas_that_want_a_node_each() -> None:
    made = cycle(node_item("a"), node_item("b"))
    replicas = [
        apart(f"p{number}", term("web", HOSTNAME), labels={"app": "web"}) for number in range(3)
    ]
    assert {place(made, replicas[0]), place(made, replicas[1])} == {"a", "b"}
    assert place(made, replicas[2]) == (
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    )


def test_terms_are_read_once_however_many_pods_they_are_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each pod that is there with terms is compared with each pod that is to be placed."""
    read = []
    real = labels.from_label_selector
    monkeypatch.setattr(labels, "from_label_selector", lambda s: read.append(s) or real(s))
    columns = with_db()
    columns.put_pod(apart("there", *(term(f"a{n}") for n in range(50))), "b1")
    for number in range(10):
        assert rejected(PLUGIN, pod(f"p{number}", labels={"app": f"a{number}"}), columns)
        assert not rejected(PLUGIN, pod(f"q{number}"), columns)
    assert len(read) == 50


def test_many_terms_of_pods_that_are_there_are_one_answer() -> None:
    """They are counted together, and not kept one by one: there may be thousands."""
    columns = with_db()
    labels_of_pod = {f"l{number}": "x" for number in range(40)}
    terms = tuple(
        PodAffinityTerm(labelSelector=LabelSelector(matchLabels={key: "x"}), topologyKey=ZONE)
        for key in labels_of_pod
    )
    for number in range(5):
        columns.put_pod(apart(f"there{number}", *terms, labels={"n": str(number)}), "b1")
    wanted = pod("p", labels=labels_of_pod)
    assert len(PLUGIN.filter(wanted.shape, columns)) == 1
    assert rejected(PLUGIN, wanted, columns) == {KEPT_AWAY: {"b1"}}
