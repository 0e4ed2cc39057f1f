"""Rules of nodes that a user makes or changes."""

from __future__ import annotations

from typing import Any

import pytest

from master.apiserver.resources.core.node.noderestriction import refused_change
from tests.unit.apiserver.conftest import STRATEGIES, Writer


def test_taints_have_effects_that_exist(writer: Writer) -> None:
    taints = [{"key": "a", "effect": "Nope"}, {"key": "b"}]
    body = {"metadata": {"name": "n"}, "spec": {"taints": taints}}
    assert writer.create_problems("nodes", body) == [
        'spec.taints[0].effect: Unsupported value: "Nope": supported values: "NoSchedule", '
        '"PreferNoSchedule", "NoExecute"',
        "spec.taints[1].effect: Required value",
    ]


def test_a_machine_has_no_less_than_nothing(writer: Writer) -> None:
    """Source: ValidateNodeResources in pkg/apis/core/validation of Kubernetes."""
    status = {"capacity": {"cpu": "-1"}, "allocatable": {"example.com/gpu": "500m", "cpu": "1"}}
    body = {"metadata": {"name": "n"}, "status": status}
    problems = [
        'status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
        'status.allocatable.example.com/gpu: Invalid value: "500m": must be an integer',
    ]
    assert writer.create_problems("nodes", body) == problems
    old, new = writer.create("nodes", {"metadata": {"name": "n"}}), writer.decode("nodes", body)
    strategy = STRATEGIES["nodes"]
    assert [str(found) for found in strategy.validate_status_update(new, old)] == problems
    assert strategy.validate_status_update(new, new) == [], "what is there may stay"


def test_pod_addresses_are_blocks(writer: Writer) -> None:
    body = {"metadata": {"name": "n"}, "spec": {"podCIDR": "abc"}}
    assert writer.create_problems("nodes", body) == [
        'spec.podCIDRs[0]: Invalid value: "abc": must be a valid CIDR value, (e.g. 10.9.8.0/24 or '
        "2001:db8::/64)"
    ]
    assert writer.create_problems("nodes", {**body, "spec": {"podCIDR": "10.1.2.0/24"}}) == []


def test_the_one_pod_address_block_is_the_first_of_all(writer: Writer) -> None:
    """Otherwise one that is no block could hide behind one that is."""
    body = {"metadata": {"name": "n"}, "spec": {"podCIDR": "abc", "podCIDRs": ["10.1.2.0/24"]}}
    [problem] = writer.create_problems("nodes", body)
    assert "spec.podCIDRs[0]" in problem
    made = writer.create("nodes", {**body, "spec": {"podCIDRs": ["10.1.2.0/24"]}})
    assert made.spec.podCIDR == "10.1.2.0/24"


def tainted(*taints: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "spec": {"taints": list(taints)}}


def test_a_taint_that_drives_pods_out_has_a_time_from_which_tolerations_count(
    writer: Writer,
) -> None:
    evicting = {"key": "a", "value": "b", "effect": "NoExecute"}
    node = writer.create("nodes", tainted(evicting, {"key": "a", "effect": "NoSchedule"}))
    assert [bool(taint.timeAdded) for taint in node.spec.taints[:2]] == [True, False]


def test_a_writer_that_leaves_the_time_of_a_taint_out_does_not_begin_it_anew(
    writer: Writer,
) -> None:
    evicting = {"key": "a", "value": "b", "effect": "NoExecute"}
    former = {**evicting, "timeAdded": "2020-01-01T00:00:00Z"}
    other = {"key": "c", "effect": "NoExecute"}
    kept, added = writer.update("nodes", tainted(evicting, other), tainted(former)).spec.taints
    assert kept.timeAdded == "2020-01-01T00:00:00Z"
    assert added.timeAdded not in (None, kept.timeAdded)


def test_taints_are_few_enough_to_be_compared_with_every_toleration(writer: Writer) -> None:
    taints = [{"key": f"k{n}", "effect": "NoExecute"} for n in range(127)]
    assert writer.create_problems("nodes", tainted(*taints)) == []
    assert writer.create_problems("nodes", tainted(*taints, {"key": "more", "effect": "NoExecute"}))


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ({"plain": "x", "example.com/k": "x", "mykubernetes.io/k": "x"}, ""),
        ({"kubernetes.io/hostname": "x", "topology.kubernetes.io/zone": "x"}, ""),
        ({"node.kubernetes.io/k": "x", "a.kubelet.kubernetes.io/k": "x"}, ""),
        ({"role.kubernetes.io/known": "changed"}, "role.kubernetes.io/known"),
        ({"b.k8s.io/k": "x", "kubernetes.io/k": "x"}, "b.k8s.io/k, kubernetes.io/k"),
        ({"node-restriction.kubernetes.io/k": "x"}, "node-restriction.kubernetes.io/k"),
        ({"node-role.kubernetes.io/control-plane": ""}, "node-role.kubernetes.io/control-plane"),
    ],
)
def test_a_node_changes_the_labels_that_a_kubelet_may_set(
    writer: Writer, labels: dict[str, str], refused: str
) -> None:
    """Source: the admission plugin NodeRestriction of Kubernetes."""
    others = {"role.kubernetes.io/known": "y", "other": "y"}
    old = writer.decode("nodes", {"metadata": {"name": "n", "labels": others}})
    new = writer.decode("nodes", {"metadata": {"name": "n", "labels": others | labels}})
    text = f"modify labels: {refused}" if refused else ""
    assert (refused_change(new, old), refused_change(old, new)) == (text, text)
    assert refused_change(new, new) == ""
