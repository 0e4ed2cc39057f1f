"""Whole cycles: the words of a rejection, spreading, reservations."""

from __future__ import annotations

from common.api.types.core_v1 import Taint, Toleration
from master.scheduler.framework import ClusterEvent
from tests.unit.scheduler.world import cycle, node_item, place, pod

NO_SCHEDULE = Taint(key="a", value="b", effect="NoSchedule")


def test_the_words_of_a_rejection() -> None:
    made = cycle(
        node_item("n1", taints=(NO_SCHEDULE,)),
        node_item("n2", cpu="1"),
        node_item("n3", cpu="1", memory="1Gi"),
    )
    assert place(made, pod("p", cpu="2", memory="2Gi")) == (
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
        "2 Insufficient cpu."
    )


def test_all_reasons_of_the_first_plugin_that_says_no() -> None:
    made = cycle(
        node_item("n1", unschedulable=True, taints=(NO_SCHEDULE,)),
        node_item("n2", pods="0"),
        node_item("n3"),
    )
    assert place(made, pod("p", requests={"example.com/gpu": "1"})) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, "
        "2 Insufficient example.com/gpu."
    )


def test_no_nodes() -> None:
    assert place(cycle(), pod("p")) == "no nodes available to schedule pods"


def test_what_can_cure_a_rejection() -> None:
    made = cycle(node_item("n1", taints=(NO_SCHEDULE,)))
    rejection = made.schedule(pod("p")).rejection
    assert rejection is not None
    assert rejection.cures == {ClusterEvent.NODE_ADDED, ClusterEvent.NODE_TAINTS}


def test_three_replicas_on_three_equal_nodes() -> None:
    for cpu in ("", "100m"):
        made = cycle(*(node_item(f"n{number}") for number in range(3)))
        placed = [
            place(made, pod(f"p{number}", owner="rs", labels={"app": "x"}, cpu=cpu))
            for number in range(3)
        ]
        assert sorted(placed) == ["n0", "n1", "n2"]


def test_a_replica_set_spreads_against_unequal_load() -> None:
    made = cycle(*(node_item(f"n{number}") for number in range(3)))
    made.assume(pod("big", cpu="1", memory="2Gi"), "n0")
    placed = {place(made, pod(f"p{number}", owner="rs", cpu="100m")) for number in range(3)}
    assert placed == {"n0", "n1", "n2"}


def test_assumed_room_is_taken_and_given_back() -> None:
    made = cycle(node_item("n1", cpu="1"))
    first, second = pod("a", cpu="600m"), pod("b", cpu="600m")
    assert place(made, first) == "n1"
    made.assume(first, "n1")
    assert place(made, second) == "0/1 nodes are available: 1 Insufficient cpu."
    made.forget(first)
    assert place(made, second) == "n1"


def test_kept_answers_follow_the_nodes() -> None:
    made = cycle(node_item("n1", taints=(NO_SCHEDULE,)))
    assert "untolerated" in place(made, pod("p"))
    made.columns.put_node(node_item("n1"))
    assert place(made, pod("p")) == "n1"
    made.columns.remove_node("n1")
    assert place(made, pod("p")) == "no nodes available to schedule pods"


def test_classes_with_other_tolerations_are_kept_apart() -> None:
    made = cycle(node_item("n1", taints=(NO_SCHEDULE,)))
    assert "untolerated" in place(made, pod("p"))
    tolerations = (Toleration(key="a", operator="Exists"),)
    assert place(made, pod("q", tolerations=tolerations)) == "n1"
