"""The snapshot of the cluster: NumPy columns, one row a node, kept true in O(what changed).

    free[resource, row]      what is left to request
    per_unit[0..1, row]      the share of CPU (of memory) that one unit of it is
    scored[0..1, row]        the share of CPU (of memory) in use, as scoring counts pods
    gap[row]                 the share of CPU requested less that of memory
    label(key)[row]          the number of a label's value, 0 without
    counts[class, row]       pods of each (namespace, labels, owner) class
    pods_by_class[class][row]  pods of each class, for pod affinity, which few pods ask for

A removed node leaves a hole (`valid` is False there) that the next new node fills. Every column
is as long as `size`; arrays that are handed out are views and must not be changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from common.api.podrequests import CPU, MEMORY, PODS, STORAGE, amounts
from common.api.types.core_v1 import Node
from common.client.informer import Item
from master.scheduler.pod import PodClass, PodInfo
from master.scheduler.podmatches import LabelClass, Matches, PodMatches

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FIRST_ROWS = 64
FIRST_RESOURCES = 4
OLD_VALUES = 256
"""So many values that no node has any longer are kept before what is numbered is read anew."""
Taints = tuple[tuple[str, str, str], ...]
"""(key, value, effect) of each taint."""


@dataclass(slots=True)
class NodeRow:
    """What is kept of a node beside its columns."""

    name: str
    row: int
    labels: Mapping[str, str]
    taints: Taints
    unschedulable: bool
    allocatable: dict[str, int]


@dataclass(slots=True)
class _Placed:
    """A pod that takes room on a row."""

    pod: PodInfo
    row: int
    counted: bool

    def is_same(self, pod: PodInfo, row: int, counted: bool) -> bool:
        """Whether nothing would change."""
        same_pod = self.pod.uid == pod.uid and self.pod.shape is pod.shape
        return same_pod and (self.row, self.counted) == (row, counted)


@dataclass(slots=True)
class _Label:
    """A column of one label key."""

    ids: npt.NDArray[np.intp]
    """As wide as numpy's indexes: what counts and looks up by them need not widen them first."""
    values: dict[str, int] = field(default_factory=dict)


class Columns:
    """All nodes and the pods on them."""

    def __init__(self) -> None:
        self.size = 0
        """How many rows are in use, holes among them."""
        self.static_version = 0
        """Grows when a node comes, goes, or changes labels, taints or cordon."""
        self.nodes: dict[str, NodeRow] = {}
        self.names: list[str] = []
        self.resources = {CPU: 0, MEMORY: 1, STORAGE: 2, PODS: 3}
        self.classes: dict[LabelClass, int] = {}
        self.pods_by_class: dict[PodClass, Counter[int]] = {}
        """How many pods of each class are on which rows, those on their way out among them."""
        self.attached: dict[PodClass, None] = {}
        """The classes among them whose pods want to be near pods, or away from them."""
        self.pod_matches = PodMatches()
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """The labels of each namespace."""
        self.ports: dict[int, dict[tuple[str, str, int], int]] = defaultdict(dict)
        self._offers: Counter[str] = Counter()
        """How many nodes offer each resource: what none offers has no row, whoever asks for it."""
        self._label_keys: Counter[str] = Counter()
        """How many nodes have each label: what none has is no column, whoever asks for it."""
        self._free_resources: list[int] = []
        self._holes: list[int] = []
        self._placed: dict[str, _Placed] = {}
        self._homeless: dict[str, tuple[str, PodInfo]] = {}
        self._labels: dict[str, _Label] = {}
        self._unlabelled = _Label(np.zeros(FIRST_ROWS, np.intp))
        self._taint_sets: dict[Taints, int] = {}
        self._class_totals: list[int] = []
        self._free_classes: list[int] = []
        self._valid = np.zeros(FIRST_ROWS, np.bool_)
        self._unschedulable = np.zeros(FIRST_ROWS, np.bool_)
        self._taints = np.zeros(FIRST_ROWS, np.int32)
        self._free = np.zeros((4, FIRST_ROWS), np.int64)
        self._requested = np.zeros((4, FIRST_ROWS), np.int64)
        self._nonzero = np.zeros((2, FIRST_ROWS), np.int64)
        self._per_unit = np.zeros((2, FIRST_ROWS), np.float64)
        self._scored = np.zeros((2, FIRST_ROWS), np.float64)
        self._gap = np.zeros(FIRST_ROWS, np.float64)
        self._counts = np.zeros((16, FIRST_ROWS), np.int32)

    def check_invariants(self) -> None:
        """Every sum is that of the pods that are there, and every row a node's or a hole."""
        rows = sorted(node.row for node in self.nodes.values())
        assert sorted([*rows, *self._holes]) == list(range(self.size))
        assert np.flatnonzero(self.valid).tolist() == rows
        requested, nonzero = np.zeros_like(self._requested), np.zeros_like(self._nonzero)
        counts = np.zeros_like(self._counts)
        pods_by_class: dict[PodClass, Counter[int]] = defaultdict(Counter)
        for placed in self._placed.values():
            shape, row = placed.pod.shape, placed.row
            for name, amount in shape.requests:
                if name in self.resources:
                    requested[self.resources[name], row] += amount
            nonzero[:, row] += shape.nonzero
            pods_by_class[shape][row] += 1
            if placed.counted:
                counts[self.classes[(shape.namespace, shape.labels, shape.owner)], row] += 1
        assert (self._requested == requested).all()
        assert (self._nonzero == nonzero).all()
        assert (self._counts == counts).all()
        assert self.pods_by_class == pods_by_class
        for node in self.nodes.values():
            for name, index in self.resources.items():
                left = node.allocatable.get(name, 0) - requested[index, node.row]
                assert self._free[index, node.row] == left, (node.name, name)
        assert not self._placed.keys() & self._homeless.keys()

    @property
    def valid(self) -> Bools:
        """Which rows are nodes."""
        return self._valid[: self.size]

    @property
    def unschedulable(self) -> Bools:
        """Which nodes are cordoned."""
        return self._unschedulable[: self.size]

    @property
    def taint_set(self) -> npt.NDArray[np.int32]:
        """The number of each node's set of taints; see `taint_sets`."""
        return self._taints[: self.size]

    @property
    def taint_sets(self) -> list[Taints]:
        """Every set of taints that some node has, or had of late, by number."""
        return list(self._taint_sets)

    @property
    def per_unit(self) -> Floats:
        """(CPU, memory): the share of a node's amount that one unit is; 0 where it has none."""
        return self._per_unit[:, : self.size]

    @property
    def scored(self) -> Floats:
        """(CPU, memory): the share in use by what scoring counts; 1 where a node has none."""
        return self._scored[:, : self.size]

    @property
    def gap(self) -> Floats:
        """The requested share of CPU less that of memory."""
        return self._gap[: self.size]

    @property
    def counts(self) -> npt.NDArray[np.int32]:
        """Pods of each class on each node."""
        return self._counts[:, : self.size]

    def free(self, resource: str) -> Ints | None:
        """What is left of a resource on each node; None when no node has any."""
        index = self.resources.get(resource)
        return None if index is None else self._free[index, : self.size]

    def label(self, key: str) -> npt.NDArray[np.intp]:
        """The numbers (from 1) of a label's values on each node, 0 where it is not set."""
        return self._label(key).ids[: self.size]

    def label_values(self, key: str) -> Mapping[str, int]:
        """The number of each value of a label."""
        return self._label(key).values

    def matches(self, pod: PodClass) -> Iterator[tuple[PodClass, Matches]]:
        """Each class of pods that is there, with the terms by which it and a pod match."""
        return self.pod_matches.of(pod, self._pods_to_match(pod))

    def counting(self, pod: PodClass) -> list[Floats]:
        """For each of a pod's spread constraints how many pods it counts on each node."""
        chosen = self.pod_matches.counting(pod, self.classes)
        return [self.counts[indexes].sum(axis=0, dtype=np.float64) for indexes in chosen]

    def prepare(self, pod: PodClass) -> Iterator[None]:
        """Match them ahead, in small pieces between which the columns may change."""
        return self.pod_matches.prepare(pod, self._pods_to_match(pod), self.classes)

    def _pods_to_match(self, pod: PodClass) -> Mapping[PodClass, object]:
        return self.pods_by_class if pod.attached else self.attached

    def put_node(self, item: Item) -> NodeRow | None:
        """Add or change a node; answers what it was before."""
        node = item.decode(Node)
        old = self.nodes.get(item.name)
        new = NodeRow(
            name=item.name,
            row=old.row if old else self._take_row(item.name),
            labels=item.labels,
            taints=tuple((t.key, t.value, t.effect) for t in node.spec.taints),
            unschedulable=node.spec.unschedulable,
            allocatable=amounts(node.status.allocatable),
        )
        self.nodes[item.name] = new
        if old is None or old.allocatable != new.allocatable:
            self._count_offers(old.allocatable if old else {}, new.allocatable)
            self._set_allocatable(new)
        if old is None or (old.labels, old.taints, old.unschedulable) != (
            new.labels,
            new.taints,
            new.unschedulable,
        ):
            self._count_labels(old.labels if old else {}, new.labels)
            self._set_static(new)
        if old is None:
            for name, pod in list(self._homeless.values()):
                if name == item.name:
                    self.put_pod(pod, name)
        return old

    def remove_node(self, name: str) -> None:
        """Take a node out; pods on it are remembered in case it comes back."""
        old = self.nodes.pop(name, None)
        if old is None:
            return
        row = old.row
        self.static_version += 1
        self._valid[row] = False
        for key, placed in list(self._placed.items()):
            if placed.row == row:
                self.remove_pod(key)
                self._homeless[key] = (name, placed.pod)
        self._count_offers(old.allocatable, {})
        self._count_labels(old.labels, {})
        self._free[:, row] = 0
        self.ports.pop(row, None)
        self._holes.append(row)

    def put_pod(self, pod: PodInfo, node: str) -> bool:
        """A pod takes room on a node (assumed or bound): again is the same as once.

        Answers whether it has taken other amounts until now.
        """
        counted = not pod.deleting
        row = self.nodes[node].row if node in self.nodes else -1
        known = self._placed.get(pod.key)
        if known is not None and known.is_same(pod, row, counted):
            return False
        self.remove_pod(pod.key)
        if row < 0:
            self._homeless[pod.key] = (node, pod)
            return False
        self._placed[pod.key] = _Placed(pod, row, counted)
        self._take_room(pod.shape, row, 1)
        if counted:
            self._count(pod.shape, row, 1)
        return known is not None and known.pod.shape.requests != pod.shape.requests

    def remove_pod(self, key: str) -> bool:
        """A pod gives its room back; answers whether it had any."""
        self._homeless.pop(key, None)
        placed = self._placed.pop(key, None)
        if placed is None:
            return False
        self._take_room(placed.pod.shape, placed.row, -1)
        if placed.counted:
            self._count(placed.pod.shape, placed.row, -1)
        return True

    def _take_row(self, name: str) -> int:
        if self._holes:
            row = self._holes.pop()
            self.names[row] = name
            return row
        if self.size == len(self._valid):
            self._grow_rows()
        self.names.append(name)
        self.size += 1
        return self.size - 1

    def _grow_rows(self) -> None:
        """Twice as many rows in every column."""

        def wider(column: Any) -> Any:
            return np.concatenate([column, np.zeros_like(column)], axis=-1)

        self._valid = wider(self._valid)
        self._unschedulable = wider(self._unschedulable)
        self._taints = wider(self._taints)
        self._free = wider(self._free)
        self._requested = wider(self._requested)
        self._nonzero = wider(self._nonzero)
        self._per_unit = wider(self._per_unit)
        self._scored = wider(self._scored)
        self._gap = wider(self._gap)
        self._counts = wider(self._counts)
        for column in self._labels.values():
            column.ids = wider(column.ids)
        self._unlabelled.ids = wider(self._unlabelled.ids)

    def _set_allocatable(self, node: NodeRow) -> None:
        row = node.row
        for name, index in self.resources.items():
            given = node.allocatable.get(name, 0)
            self._free[index, row] = given - self._requested[index, row]
        for index, name in enumerate((CPU, MEMORY)):
            given = node.allocatable.get(name, 0)
            self._per_unit[index, row] = 1 / given if given else 0.0
        self._set_shares(row)

    def _set_shares(self, row: int) -> None:
        """Compute what scoring needs of a row after its amounts have changed."""
        for index in (0, 1):
            per_unit = self._per_unit[index, row]
            self._scored[index, row] = self._nonzero[index, row] * per_unit if per_unit else 1.0
        cpu, memory = self._requested[:2, row] * self._per_unit[:, row]
        self._gap[row] = min(cpu, 1.0) - min(memory, 1.0)

    def _set_static(self, node: NodeRow) -> None:
        row = node.row
        self.static_version += 1
        self._valid[row] = True
        self._unschedulable[row] = node.unschedulable
        self._taints[row] = self._taint_sets.setdefault(node.taints, len(self._taint_sets))
        if self._has_many_old(self._taint_sets):
            self._taint_sets.clear()
            for one in self.nodes.values():
                number = self._taint_sets.setdefault(one.taints, len(self._taint_sets))
                self._taints[one.row] = number
        for key, column in list(self._labels.items()):
            column.ids[row] = _value(column, node.labels.get(key))
            if self._has_many_old(column.values):
                del self._labels[key]

    def _has_many_old(self, numbers: Sized) -> bool:
        """Whether most values that have a number are no longer any node's: time to begin anew."""
        return len(numbers) > 2 * len(self.nodes) + OLD_VALUES

    def _count_labels(self, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        for key in _counted(self._label_keys, old, new):
            self._labels.pop(key, None)

    def _count_offers(self, old: Mapping[str, int], new: Mapping[str, int]) -> None:
        """Give resources a row when the first node offers them, and take it with the last one."""
        for name in _counted(self._offers, old, new):
            index = self.resources.get(name, 0)
            if index >= FIRST_RESOURCES:
                del self.resources[name]
                self._free[index] = self._requested[index] = 0
                self._free_resources.append(index)
        if fresh := {name: self._new_resource(name) for name in new.keys() - self.resources.keys()}:
            for placed in self._placed.values():
                for name, amount in placed.pod.shape.requests:
                    if name in fresh:
                        self._requested[fresh[name], placed.row] += amount
            rows = list(fresh.values())
            self._free[rows] = -self._requested[rows]

    def _new_resource(self, name: str) -> int:
        """A row of zeros."""
        if not self._free_resources:
            count = len(self._free)
            self._free_resources = list(reversed(range(count, 2 * count)))
            self._free = np.concatenate([self._free, np.zeros_like(self._free)])
            self._requested = np.concatenate([self._requested, np.zeros_like(self._requested)])
        self.resources[name] = self._free_resources.pop()
        return self.resources[name]

    def _label(self, key: str) -> _Label:
        """The column of a label; made when somebody asks for it first."""
        if not self._label_keys[key]:
            return self._unlabelled
        column = self._labels.get(key)
        if column is None:
            column = _Label(np.zeros(len(self._valid), np.intp))
            for node in self.nodes.values():
                column.ids[node.row] = _value(column, node.labels.get(key))
            self._labels[key] = column
        return column

    def _take_room(self, shape: PodClass, row: int, sign: int) -> None:
        for name, amount in shape.requests:
            index = self.resources.get(name)
            if index is None:
                continue
            self._requested[index, row] += sign * amount
            self._free[index, row] -= sign * amount
        self._nonzero[0, row] += sign * shape.nonzero[0]
        self._nonzero[1, row] += sign * shape.nonzero[1]
        self._set_shares(row)
        self._count_pod(shape, row, sign)
        for port in shape.ports:
            used = self.ports[row]
            used[port] = used.get(port, 0) + sign
            if not used[port]:
                del used[port]

    def _count_pod(self, shape: PodClass, row: int, sign: int) -> None:
        by_row = self.pods_by_class.setdefault(shape, Counter())
        by_row[row] += sign
        if not by_row[row]:
            del by_row[row]
        if not by_row:
            del self.pods_by_class[shape]
            self.attached.pop(shape, None)
            self.pod_matches.forget(shape)
        elif shape.attached:
            self.attached[shape] = None

    def _count(self, shape: PodClass, row: int, sign: int) -> None:
        index = self._class(shape)
        self._counts[index, row] += sign
        self._class_totals[index] += sign
        if not self._class_totals[index]:
            del self.classes[(shape.namespace, shape.labels, shape.owner)]
            self._free_classes.append(index)
            self.pod_matches.forget_class(index)

    def _class(self, shape: PodClass) -> int:
        """The number of a class; those without pods are used again."""
        key = (shape.namespace, shape.labels, shape.owner)
        index = self.classes.get(key)
        if index is None:
            if self._free_classes:
                index = self._free_classes.pop()
            else:
                index = len(self._class_totals)
                self._class_totals.append(0)
                if index == len(self._counts):
                    self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self.classes[key] = index
        return index


def _counted(counts: Counter[str], old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Count a node's names; answers those that no node has any longer."""
    counts.update(list(new))
    counts.subtract(list(old))
    gone = [name for name in old if not counts[name]]
    for name in gone:
        del counts[name]
    return gone


def _value(column: _Label, value: str | None) -> int:
    return 0 if value is None else column.values.setdefault(value, len(column.values) + 1)
