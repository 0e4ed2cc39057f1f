"""What the master and the child process of the user's file tell each other. Pure.

Both directions are lines of JSON. A question carries the nodes that have changed since the last
one to the same child, so that its size follows what happens and not the size of the cluster:

    {"nodes": [{"name": .., "labels": .., "taints": .., "allocatable": .., "free": ..}],
     "gone": [name], "pod": {..}, "feasible": [name], "same": [count]}

The answer is {"reasons": [text], "scores": [number]} or {"reasons": [text], "node": name}, with
the lists as long as `feasible`, or {"error": text}, with "last": true when the child ends with it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from master.scheduler.columns import Bools, Columns, Floats, Ints, NodeRow
from master.scheduler.cycle import Cycle, Decision, Step
from master.scheduler.framework import ClusterEvent
from master.scheduler.pod import PodInfo

NOT_CHOSEN = "node(s) not chosen by the scheduler file"
ANY_EVENT = frozenset(ClusterEvent)
"""What can change the mind of a file: nobody but its author knows."""


class OwnSchedulerFailed(Exception):
    """The user's file gave no usable answer; the message is for the pod's condition."""


class Answer(msgspec.Struct, kw_only=True, frozen=True):
    """What the child says about a question."""

    reasons: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = None
    node: str | None = None
    error: str = ""
    last: bool = False
    """Whether the child ends after this."""


class Question(msgspec.Struct, kw_only=True, frozen=True):
    """What the child is asked about a pod."""

    nodes: list[dict[str, Any]]
    gone: list[str]
    pod: dict[str, Any]
    feasible: list[str]
    same: list[int]


class Mirror:
    """Which nodes a child knows, and as what."""

    def __init__(self) -> None:
        self._rows: dict[str, NodeRow] = {}
        self._resources: list[str] = []
        self._free: Ints = np.zeros((0, 0), np.int64)

    def question(self, pod: PodInfo, columns: Columns, alive: Bools) -> Question:
        """What to ask about a pod that may go to these rows; the child then knows all nodes."""
        free = np.array([columns.free(name) for name in columns.resources], np.int64)
        moved = self._moved(free, columns)
        changed = [
            row
            for row in columns.nodes.values()
            if moved[row.row] or self._rows.get(row.name) != row
        ]
        gone = [name for name in self._rows if name not in columns.nodes]
        self._rows = dict(columns.nodes)
        self._free, self._resources = free, list(columns.resources)
        rows = np.flatnonzero(alive)
        return Question(
            nodes=[_node(row, columns) for row in changed],
            gone=gone,
            pod=_pod(pod),
            feasible=[columns.names[row] for row in rows],
            same=_same(pod, columns)[rows].tolist(),
        )

    def _moved(self, free: Ints, columns: Columns) -> Bools:
        """The rows on which something was taken or given back since the last question."""
        if self._free.shape != free.shape or self._resources != list(columns.resources):
            return np.ones(columns.size, np.bool_)
        moved: Bools = np.any(self._free != free, axis=0)
        return moved


def _node(row: NodeRow, columns: Columns) -> dict[str, Any]:
    free = {}
    for name in row.allocatable:
        column = columns.free(name)
        free[name] = int(column[row.row]) if column is not None else 0
    return {
        "name": row.name,
        "labels": dict(row.labels),
        "taints": row.taints,
        "allocatable": row.allocatable,
        "free": free,
    }


def _pod(pod: PodInfo) -> dict[str, Any]:
    namespace, _, name = pod.key.partition("/")
    return {
        "namespace": namespace,
        "name": name,
        "uid": pod.uid,
        "labels": dict(pod.shape.labels),
        "priority": pod.priority,
        "owner": pod.shape.owner,
        "node_selector": dict(pod.shape.node_selector),
        "requests": dict(pod.shape.requests),
    }


def _same(pod: PodInfo, columns: Columns) -> Ints:
    """Pods of the same namespace, labels and controller on each row."""
    shape = pod.shape
    number = columns.classes.get((shape.namespace, shape.labels, shape.owner))
    if number is None:
        return np.zeros(columns.size, np.int64)
    counts: Ints = columns.counts[number].astype(np.int64)
    return counts


def read(line: bytes, question: Question | None, path: str) -> Answer:
    """A line of the child. Raises OwnSchedulerFailed for an error and for what is no answer.

    `question` is None for the line that says whether the file could be loaded.
    """
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.MsgspecError as error:
        raise OwnSchedulerFailed(f"{path}: its answer cannot be read") from error
    if answer.error:
        raise OwnSchedulerFailed(answer.error)
    if question is not None and not _fits(answer, question):
        raise OwnSchedulerFailed(f"{path}: its answer does not fit the question")
    return answer


def is_last(line: bytes) -> bool:
    """Whether the child ends after this answer, or cannot be trusted to go on."""
    try:
        return msgspec.json.decode(line, type=Answer).last
    except msgspec.MsgspecError:
        return True


def _fits(answer: Answer, question: Question) -> bool:
    count = len(question.feasible)
    if len(answer.reasons) != count:
        return False
    if answer.node is not None:
        return answer.node in ("", *question.feasible)
    scores = answer.scores
    return scores is not None and len(scores) == count and all(map(math.isfinite, scores))


def conclude(cycle: Cycle, pod: PodInfo, question: Question, answer: Answer) -> Decision | None:
    """What an answer comes to on the nodes as they are now; None when they have changed so much
    that the child must be asked again.
    """
    columns = cycle.columns
    rows = [columns.nodes[n].row if n in columns.nodes else -1 for n in question.feasible]
    asked = np.zeros(columns.size, np.bool_)
    asked[[row for row in rows if row >= 0]] = True
    alive, steps = cycle.filter(pod)
    if answer.node:
        chosen = columns.nodes.get(answer.node)
        fits = chosen is not None and bool((alive & asked)[chosen.row])
        return Decision(answer.node) if fits else None
    masks = _masks(answer, rows, columns.size)
    left = alive & asked
    for mask in masks.values():
        left &= ~mask
    if left.any():
        return Decision(columns.names[cycle.best(pod, left, _scores(answer, rows, columns.size))])
    if (alive & ~asked).any():
        return None
    return Decision("", cycle.explain([*steps, Step(ANY_EVENT, alive, list(masks.items()))]))


def _masks(answer: Answer, rows: list[int], size: int) -> dict[str, Bools]:
    """The rows that each reason rules out; all that are left when no node was chosen."""
    masks: dict[str, Bools] = {}
    for row, reason in zip(rows, answer.reasons, strict=True):
        words = reason or (NOT_CHOSEN if answer.node == "" else "")
        if words and row >= 0:
            masks.setdefault(words, np.zeros(size, np.bool_))[row] = True
    return masks


def _scores(answer: Answer, rows: list[int], size: int) -> Floats:
    scores = np.zeros(size, np.float64)
    for row, score in zip(rows, answer.scores or (), strict=True):
        if row >= 0:
            scores[row] = score
    return scores


def stopped(path: str, status: int | None) -> OwnSchedulerFailed:
    """The words for a child that has ended by itself or was killed; status as in subprocess."""
    if status is None:
        return OwnSchedulerFailed(f"{path}: its process has closed its output")
    if status < 0:
        return OwnSchedulerFailed(f"{path}: its process was killed by signal {-status}")
    return OwnSchedulerFailed(f"{path}: its process ended with status {status}")


def over_time(path: str, seconds: float) -> OwnSchedulerFailed:
    """The words for a child that did not even say that it takes too long."""
    return OwnSchedulerFailed(f"{path}: took longer than {seconds:g} s, and was killed")
