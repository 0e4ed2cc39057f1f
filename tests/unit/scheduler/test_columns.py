"""The columns stay true under any sequence of changes."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.api.podrequests import AMOUNT_MAX
from common.api.types.core_v1 import Taint
from master.scheduler.columns import Columns
from tests.examples import examples
from tests.unit.scheduler.world import node_item, pod

nodes = st.sampled_from([f"n{number}" for number in range(6)])
pods = st.sampled_from([f"p{number}" for number in range(8)])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put node"), nodes, st.sampled_from(["1", "2", "4"])),
        st.tuples(st.just("remove node"), nodes, st.just("")),
        st.tuples(st.just("put pod"), pods, nodes),
        st.tuples(st.just("delete pod"), pods, nodes),
        st.tuples(st.just("remove pod"), pods, st.just("")),
    ),
    max_size=40,
)


@given(changes)
@settings(max_examples=examples(150), deadline=None)
def test_increments_equal_a_fresh_start(steps: list[tuple[str, str, str]]) -> None:
    columns = Columns()
    cpus: dict[str, str] = {}
    where: dict[str, tuple[str, bool]] = {}
    for kind, name, value in steps:
        if kind == "put node":
            columns.put_node(node_item(name, cpu=value, labels={"cpu": value}))
            cpus[name] = value
        elif kind == "remove node":
            columns.remove_node(name)
            cpus.pop(name, None)
        elif kind == "remove pod":
            columns.remove_pod(f"default/{name}")
            where.pop(name, None)
        else:
            deleting = kind == "delete pod"
            columns.put_pod(pod(name, cpu="100m", owner=name, deleting=deleting), value)
            where[name] = (value, deleting)
    free, cpu = columns.free("cpu"), columns.label("cpu")
    assert free is not None
    assert int(columns.valid.sum()) == len(cpus)
    names = {number: value for value, number in columns.label_values("cpu").items()}
    for name, given_cpu in cpus.items():
        row = columns.nodes[name].row
        here = [key for key, (node, _) in where.items() if node == name]
        assert free[row] == int(given_cpu) * 1000 - 100 * len(here)
        assert columns.names[row] == name
        assert names[int(cpu[row])] == given_cpu
        counted = sum(1 for key in here if not where[key][1])
        assert int(columns.counts[:, row].sum()) == counted
        assert sum(crowd[row] for crowd in columns.pods_by_class.values()) == len(here)
    assert not np.any(columns.counts < 0)
    assert all(count > 0 for crowd in columns.pods_by_class.values() for count in crowd.values())


def test_many_nodes_and_holes() -> None:
    columns = Columns()
    columns.label("kubernetes.io/hostname")
    for number in range(200):
        columns.put_node(node_item(f"n{number}"))
    columns.remove_node("n3")
    columns.put_node(node_item("new"))
    assert columns.nodes["new"].row == 3
    assert columns.size == 200
    assert len(set(columns.label("kubernetes.io/hostname").tolist())) == 200


def test_a_pod_of_a_node_that_is_not_known_yet() -> None:
    columns = Columns()
    columns.put_pod(pod("p", cpu="1"), "late")
    columns.put_node(node_item("late", cpu="4"))
    free = columns.free("cpu")
    assert free is not None
    assert free[columns.nodes["late"].row] == 3000


def test_what_other_nodes_lack_of_a_resource_that_comes_later() -> None:
    columns = Columns()
    columns.put_node(node_item("a"))
    assert columns.free("example.com/gpu") is None
    columns.put_node(node_item("b", **{"example.com/gpu": "1"}))
    found = columns.free("example.com/gpu")
    assert found is not None
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize("cpu", ["1e16", "9E", "1e99"])
def test_amounts_beyond_all_machines_are_as_much_as_there_can_be(cpu: str) -> None:
    """Kubernetes stores them; the columns have 64 bits."""
    columns = Columns()
    columns.put_node(node_item("small", cpu="4"))
    columns.put_node(node_item("huge", cpu=cpu))
    for number in range(300):
        columns.put_pod(pod(f"p{number}", cpu=cpu), "small")
    free = columns.free("cpu")
    assert free is not None
    assert free[columns.nodes["small"].row] < 0 < free[columns.nodes["huge"].row]


@pytest.mark.parametrize("amount", [str(10**30), str(-(10**30)), "-1"])
def test_a_node_may_say_of_itself_what_cannot_be(amount: str) -> None:
    """What it has is something between nothing and AMOUNT_MAX, and others' rows are true."""
    columns = Columns()
    columns.put_node(node_item("good", cpu="2"))
    columns.put_node(node_item("odd", cpu=amount, memory=amount, pods=amount))
    free = columns.free("cpu")
    assert free is not None
    assert free[columns.nodes["good"].row] == 2000
    assert 0 <= free[columns.nodes["odd"].row] <= AMOUNT_MAX


def test_what_no_node_has_costs_nothing_whoever_asks_for_it() -> None:
    columns = Columns()
    columns.put_node(node_item("n0"))
    asked = {f"e.com/r{number}": "1" for number in range(1000)}
    columns.put_pod(pod("greedy", requests=asked), "n0")
    assert columns.free("e.com/r7") is None
    assert list(columns.resources) == ["cpu", "memory", "ephemeral-storage", "pods"]
    assert columns.label("l1").base is columns.label("l2").base
    assert not columns.label("l1").any()
    assert columns.label_values("l1") == {}


def test_resources_that_come_and_go_count_the_pods_that_are_there() -> None:
    chance = Random(7)
    columns = Columns()
    offers: dict[str, dict[str, str]] = {}
    where: dict[str, tuple[str, dict[str, str]]] = {}
    kinds = [f"e.com/r{number}" for number in range(9)]
    for _ in range(600):
        name, kind = f"n{chance.randrange(4)}", chance.randrange(4)
        if kind == 0:
            offers[name] = dict.fromkeys(chance.sample(kinds, chance.randrange(5)), "100")
            columns.put_node(node_item(name, **offers[name]))
        elif kind == 1 and chance.random() < 0.3:
            columns.remove_node(name)
            offers.pop(name, None)
        else:
            who = f"p{chance.randrange(12)}"
            asked = dict.fromkeys(chance.sample(kinds, 3), "3")
            columns.put_pod(pod(who, requests=asked), name)
            where[who] = (name, asked)
        assert set(columns.resources) - {"cpu", "memory", "ephemeral-storage", "pods"} == {
            one for these in offers.values() for one in these
        }
        for node, these in offers.items():
            for one in these:
                free = columns.free(one)
                assert free is not None
                here = sum(at == node and one in asked for at, asked in where.values())
                assert free[columns.nodes[node].row] == 100 - 3 * here
    assert len(columns._free) <= 16


def test_values_that_no_node_has_any_longer_are_forgotten() -> None:
    """Autoscalers write the time into a taint."""
    columns = Columns()
    columns.put_node(node_item("still", labels={"l": "same"}, taints=(Taint(key="a"),)))
    for number in range(2000):
        taint = Taint(key="t", value=str(number), effect="NoSchedule")
        columns.put_node(node_item("n", labels={"l": str(number)}, taints=(taint,)))
        still, changed = columns.nodes["still"].row, columns.nodes["n"].row
        assert columns.taint_sets[columns.taint_set[changed]] == (("t", str(number), "NoSchedule"),)
        assert columns.taint_sets[columns.taint_set[still]] == (("a", "", ""),)
        values = columns.label_values("l")
        assert columns.label("l")[changed] == values[str(number)]
        assert columns.label("l")[still] == values["same"]
    assert len(columns.taint_sets) < 300
    assert len(columns.label_values("l")) < 300
