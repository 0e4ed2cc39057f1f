"""Questions tell what has changed and no more; answers are checked and hold only while true."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.scheduler.cycle import Cycle, Decision
from master.scheduler.framework import ClusterEvent
from master.scheduler.own.child import World
from master.scheduler.own.exchange import (
    NOT_CHOSEN,
    Answer,
    Mirror,
    OwnSchedulerFailed,
    Question,
    conclude,
    is_last,
    over_time,
    read,
    stopped,
)
from tests.unit.scheduler.world import cycle, node_item, pod

FILE = "/etc/wherry/scheduler.py"
NO_FIT = f"{FILE}: its answer does not fit the question"


def ask(mirror: Mirror, made: Cycle, **about: Any) -> Question:
    """A question about a small pod."""
    wanted = pod("p", **about)
    return mirror.question(wanted, made.columns, made.filter(wanted)[0])


def test_a_question() -> None:
    made = cycle(
        node_item("n1", cpu="2", memory="1Gi", labels={"a": "b"}), node_item("n2", cpu="0")
    )
    question = ask(Mirror(), made, cpu="100m", labels={"x": "y"}, owner="rs", priority=7)
    assert question.pod == {
        "namespace": "default",
        "name": "p",
        "uid": "uid-p",
        "labels": {"x": "y"},
        "priority": 7,
        "owner": "rs",
        "node_selector": {},
        "requests": {"cpu": 100, "pods": 1},
    }
    amounts = {"cpu": 2000, "memory": 1 << 30, "pods": 110}
    assert question.nodes[0] == {
        "name": "n1",
        "labels": {"kubernetes.io/hostname": "n1", "a": "b"},
        "taints": (),
        "allocatable": amounts,
        "free": amounts,
    }
    assert [node["name"] for node in question.nodes] == ["n1", "n2"]
    assert (question.feasible, question.same) == (["n1"], [0])


def test_only_what_has_changed_is_told_again() -> None:
    made, mirror = cycle(*(node_item(f"n{number}") for number in range(3))), Mirror()
    assert len(ask(mirror, made).nodes) == 3
    assert ask(mirror, made).nodes == []
    made.assume(pod("other", cpu="1"), "n1")
    (told,) = ask(mirror, made).nodes
    assert (told["name"], told["free"]["cpu"]) == ("n1", 3000)
    made.columns.put_node(node_item("n2", labels={"a": "b"}))
    made.columns.remove_node("n0")
    question = ask(mirror, made)
    assert [node["name"] for node in question.nodes] == ["n2"]
    assert question.gone == ["n0"]


def test_pods_of_the_same_kind_are_counted() -> None:
    made = cycle(node_item("n1"), node_item("n2"))
    made.assume(pod("a", owner="rs"), "n2")
    made.assume(pod("b", owner="other"), "n1")
    assert ask(Mirror(), made, owner="rs").same == [0, 1]


CHANGES = st.lists(
    st.tuples(st.sampled_from(["node", "gone", "pod", "unpod", "ask"]), st.integers(0, 3)),
    max_size=25,
)


@given(CHANGES)
def test_a_child_that_is_told_changes_knows_what_a_new_one_knows(changes: Any) -> None:
    made, mirror, old = cycle(node_item("n0")), Mirror(), World()
    for number, (what, which) in enumerate([*changes, ("ask", 0)]):
        if what == "node":
            made.columns.put_node(node_item(f"n{which}", labels={"at": str(number)}))
        elif what == "gone":
            made.columns.remove_node(f"n{which}")
        elif what == "pod":
            made.columns.put_pod(pod(f"p{number}", cpu="10m"), f"n{which}")
        elif what == "unpod":
            made.columns.remove_pod(f"default/p{number - which}")
        else:
            _, nodes = old.read(plain(ask(mirror, made)))
            _, fresh = World().read(plain(ask(Mirror(), made)))
            assert list(nodes) == list(fresh)


def plain(question: Question) -> Any:
    """As it comes out of the pipe."""
    return msgspec.json.decode(msgspec.json.encode(question))


def question_about(*names: str) -> Question:
    return Question(nodes=[], gone=[], pod={}, feasible=list(names), same=[0] * len(names))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", f"{FILE}: its answer cannot be read"),
        (b'{"reasons": ["", ""], "scores": [NaN, 1]}\n', f"{FILE}: its answer cannot be read"),
        (b'{"error": "in your words"}\n', "in your words"),
        (b"{}\n", NO_FIT),
        (b'{"reasons": [""], "scores": [1]}\n', NO_FIT),
        (b'{"reasons": ["", ""], "scores": [1]}\n', NO_FIT),
        (b'{"reasons": ["", ""], "node": "n3"}\n', NO_FIT),
    ],
)
def test_answers_that_are_none(line: bytes, words: str) -> None:
    with pytest.raises(OwnSchedulerFailed) as caught:
        read(line, question_about("n1", "n2"), FILE)
    assert str(caught.value) == words


def test_good_answers() -> None:
    question = question_about("n1", "n2")
    assert read(b"{}\n", None, FILE) == Answer()
    assert read(b'{"reasons": ["", "x"], "node": "n1"}\n', question, FILE).node == "n1"
    assert read(b'{"reasons": ["", ""], "node": ""}\n', question, FILE).node == ""
    assert read(b'{"reasons": ["", ""], "scores": [1, 2]}\n', question, FILE).scores == (1.0, 2.0)


def test_which_answers_are_the_last() -> None:
    assert is_last(b'{"error": "too long", "last": true}\n')
    assert is_last(b"nonsense")
    assert not is_last(b'{"error": "wrong"}\n')


def test_the_words_for_children_that_have_ended() -> None:
    assert str(stopped(FILE, -9)) == f"{FILE}: its process was killed by signal 9"
    assert str(stopped(FILE, 3)) == f"{FILE}: its process ended with status 3"
    assert str(stopped(FILE, None)) == f"{FILE}: its process has closed its output"
    assert str(over_time(FILE, 1.0)) == f"{FILE}: took longer than 1 s, and was killed"


def decided(made: Cycle, question: Question, **answer: Any) -> Decision | None:
    reasons = answer.pop("reasons", ("",) * len(question.feasible))
    return conclude(made, pod("p", cpu="1"), question, Answer(reasons=reasons, **answer))


def test_scores_come_on_top_of_the_built_in_ones() -> None:
    made = cycle(node_item("n1", cpu="8"), node_item("n2", cpu="2"))
    question = ask(Mirror(), made, cpu="1")
    assert decided(made, question, scores=(0.0, 0.0)) == Decision("n1")
    assert decided(made, question, scores=(0.0, 900.0)) == Decision("n2")
    assert decided(made, question, node="n2") == Decision("n2")


def test_reasons_stand_beside_the_built_in_ones() -> None:
    made = cycle(node_item("n1"), node_item("n2", cpu="0"), node_item("n3"))
    question = ask(Mirror(), made, cpu="1")
    decision = decided(made, question, reasons=("not today", "not today"), scores=(0.0, 0.0))
    assert decision is not None
    assert str(decision.rejection) == "0/3 nodes are available: 1 Insufficient cpu, 2 not today."
    assert decision.rejection is not None
    assert decision.rejection.cures >= {ClusterEvent.SCHEDULER_FILE, ClusterEvent.POD_ADDED}
    decision = decided(made, question, node="")
    assert decision is not None
    text = f"0/3 nodes are available: 1 Insufficient cpu, 2 {NOT_CHOSEN}."
    assert str(decision.rejection) == text


def test_a_node_that_was_taken_meanwhile_is_not_chosen() -> None:
    made = cycle(node_item("n1", cpu="1"), node_item("n2", cpu="1"))
    question = ask(Mirror(), made, cpu="1")
    made.assume(pod("other", cpu="1"), "n1")
    assert decided(made, question, node="n1") is None
    assert decided(made, question, scores=(100.0, 0.0)) == Decision("n2")
    made.assume(pod("another", cpu="1"), "n2")
    decision = decided(made, question, scores=(100.0, 0.0))
    assert decision is not None
    assert str(decision.rejection) == "0/2 nodes are available: 2 Insufficient cpu."


def test_a_row_with_a_new_name_is_another_node() -> None:
    made = cycle(node_item("n1"))
    question = ask(Mirror(), made, cpu="1")
    made.columns.remove_node("n1")
    made.columns.put_node(node_item("n9"))
    assert np.flatnonzero(made.columns.valid).tolist() == [0]
    assert decided(made, question, node="n1") is None
    assert decided(made, question, scores=(1.0,)) is None
