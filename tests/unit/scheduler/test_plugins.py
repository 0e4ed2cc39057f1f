"""Each plugin alone: what it rules out, in which words, and what it prefers."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.types.core_v1 import (
    Affinity,
    Container,
    ContainerPort,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PreferredSchedulingTerm,
    Taint,
    Toleration,
    TopologySpreadConstraint,
)
from common.api.types.meta_v1 import LabelSelector
from master.scheduler.columns import Columns
from master.scheduler.framework import ClusterEvent, Filter, Score
from master.scheduler.plugins.balanced_allocation import BalancedAllocation
from master.scheduler.plugins.node_affinity import NodeAffinity as NodeAffinityPlugin
from master.scheduler.plugins.node_ports import NodePorts
from master.scheduler.plugins.node_resources_fit import NodeResourcesFit
from master.scheduler.plugins.node_unschedulable import NodeUnschedulable
from master.scheduler.plugins.pod_topology_spread import PodTopologySpread
from master.scheduler.plugins.taint_toleration import TaintToleration
from master.scheduler.pod import PodInfo
from master.scheduler.registry import FILTERS, SCORES
from tests.unit.scheduler.world import node_item, pod

ZONE = "topology.kubernetes.io/zone"


def world(*nodes: Any) -> Columns:
    made = Columns()
    for found in nodes:
        made.put_node(found)
    return made


def rejected(plugin: Filter, info: PodInfo, columns: Columns) -> dict[str, set[str]]:
    """The nodes that each reason rules out."""
    found: dict[str, set[str]] = {}
    for reason, mask in plugin.filter(info.shape, columns):
        for name, node in columns.nodes.items():
            if mask[node.row]:
                found.setdefault(reason, set()).add(name)
    return found


def scores(plugin: Score, info: PodInfo, columns: Columns) -> dict[str, float] | None:
    """The score of each node, all being feasible."""
    found = plugin.score(info.shape, columns, columns.valid.copy())
    if found is None:
        return None
    return {name: round(float(found[node.row]), 3) for name, node in columns.nodes.items()}


def test_unschedulable() -> None:
    columns = world(node_item("a", unschedulable=True), node_item("b"))
    reason = "node(s) were unschedulable"
    assert rejected(NodeUnschedulable(), pod("p"), columns) == {reason: {"a"}}
    tolerations = (Toleration(key="node.kubernetes.io/unschedulable", operator="Exists"),)
    assert rejected(NodeUnschedulable(), pod("p", tolerations=tolerations), columns) == {}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration(key="k", operator="Equal", value="v", effect="NoSchedule"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(key="k", operator="Equal", value="x"), False),
        (Toleration(key="x", operator="Exists"), False),
        (Toleration(key="k", operator="Exists", effect="NoExecute"), False),
    ],
)
def test_taints(toleration: Toleration, tolerated: bool) -> None:
    taint = Taint(key="k", value="v", effect="NoSchedule")
    columns = world(node_item("a", taints=(taint,)), node_item("b"))
    found = rejected(TaintToleration(), pod("p", tolerations=(toleration,)), columns)
    assert found == ({} if tolerated else {"node(s) had untolerated taint(s)": {"a"}})


def test_soft_taints_score() -> None:
    taint = Taint(key="k", effect="PreferNoSchedule")
    columns = world(node_item("a", taints=(taint,)), node_item("b"))
    assert rejected(TaintToleration(), pod("p"), columns) == {}
    assert scores(TaintToleration(), pod("p"), columns) == {"a": 0, "b": 100}
    assert scores(TaintToleration(), pod("p"), world(node_item("a"))) is None


def requirement(key: str, operator: str, *values: str) -> NodeSelectorTerm:
    expression = NodeSelectorRequirement(key=key, operator=operator, values=values)
    return NodeSelectorTerm(matchExpressions=(expression,))


def required(*terms: NodeSelectorTerm) -> Affinity:
    selector = NodeSelector(nodeSelectorTerms=terms)
    wanted = NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=selector)
    return Affinity(nodeAffinity=wanted)


@pytest.mark.parametrize(
    ("terms", "allowed"),
    [
        ((requirement("disk", "In", "ssd"),), {"a"}),
        ((requirement("disk", "NotIn", "ssd"),), {"b", "c"}),
        ((requirement("disk", "Exists"),), {"a", "b"}),
        ((requirement("disk", "DoesNotExist"),), {"c"}),
        ((requirement("cores", "Gt", "4"),), {"b"}),
        ((requirement("cores", "Lt", "4"),), {"a"}),
        ((requirement("disk", "In", "ssd"), requirement("cores", "Gt", "4")), {"a", "b"}),
        ((NodeSelectorTerm(),), set()),
        (
            (
                NodeSelectorTerm(
                    matchFields=(
                        NodeSelectorRequirement(
                            key="metadata.name", operator="In", values=("c", "x")
                        ),
                    )
                ),
            ),
            {"c"},
        ),
    ],
)
def test_required_node_affinity(terms: tuple[NodeSelectorTerm, ...], allowed: set[str]) -> None:
    columns = world(
        node_item("a", labels={"disk": "ssd", "cores": "2"}),
        node_item("b", labels={"disk": "hdd", "cores": "8"}),
        node_item("c", labels={"cores": "many"}),
    )
    found = rejected(NodeAffinityPlugin(), pod("p", affinity=required(*terms)), columns)
    reason = "node(s) didn't match Pod's node affinity/selector"
    assert set(columns.nodes) - found.get(reason, set()) == allowed


def test_node_selector_and_later_labels() -> None:
    columns = world(node_item("a"))
    info = pod("p", nodeSelector={"disk": "ssd"})
    assert rejected(NodeAffinityPlugin(), info, columns) != {}
    columns.put_node(node_item("a", labels={"disk": "ssd"}))
    assert rejected(NodeAffinityPlugin(), info, columns) == {}


def test_preferred_node_affinity() -> None:
    preferred = (
        PreferredSchedulingTerm(weight=10, preference=requirement("disk", "In", "ssd")),
        PreferredSchedulingTerm(weight=30, preference=requirement("gpu", "Exists")),
    )
    wanted = NodeAffinity(preferredDuringSchedulingIgnoredDuringExecution=preferred)
    info = pod("p", affinity=Affinity(nodeAffinity=wanted))
    columns = world(
        node_item("a", labels={"disk": "ssd"}),
        node_item("b", labels={"disk": "ssd", "gpu": "1"}),
        node_item("c"),
    )
    assert scores(NodeAffinityPlugin(), info, columns) == {"a": 25, "b": 100, "c": 0}
    assert scores(NodeAffinityPlugin(), pod("p"), columns) is None


def test_fit_counts_every_resource() -> None:
    columns = world(
        node_item("a", cpu="1", memory="1Gi", pods="1"),
        node_item("b", **{"example.com/gpu": "2"}),
    )
    columns.put_pod(pod("x", cpu="600m", memory="600Mi"), "a")
    info = pod("p", cpu="500m", memory="500Mi", requests={"example.com/gpu": "1"})
    assert rejected(NodeResourcesFit(), info, columns) == {
        "Insufficient cpu": {"a"},
        "Insufficient memory": {"a"},
        "Too many pods": {"a"},
        "Insufficient example.com/gpu": {"a"},
    }


def test_least_allocated() -> None:
    columns = world(node_item("a", cpu="4", memory="4Gi"), node_item("b", cpu="4", memory="4Gi"))
    columns.put_pod(pod("x", cpu="1", memory="1Gi"), "a")
    found = scores(NodeResourcesFit(), pod("p", cpu="1", memory="1Gi"), columns)
    assert found == {"a": 50, "b": 75}


def test_pods_without_requests_count_with_defaults_in_scores() -> None:
    columns = world(node_item("a", cpu="1", memory="2000Mi"), node_item("b", memory="2000Mi"))
    assert scores(NodeResourcesFit(), pod("p"), columns) == {"a": 90, "b": 93.75}


def test_balanced_allocation() -> None:
    columns = world(node_item("a", cpu="4", memory="4Gi"), node_item("b", cpu="4", memory="4Gi"))
    columns.put_pod(pod("x", cpu="2"), "a")
    found = scores(BalancedAllocation(), pod("p", memory="2Gi"), columns)
    assert found == {"a": 87.5, "b": 62.5}
    assert scores(BalancedAllocation(), pod("p"), columns) is None


def with_port(name: str, port: int, protocol: str = "TCP", address: str = "") -> PodInfo:
    ports = (ContainerPort(hostPort=port, protocol=protocol, hostIP=address, containerPort=80),)
    return pod(name, containers=(Container(name="c", ports=ports),))


def test_host_ports() -> None:
    columns = world(node_item("a"), node_item("b"))
    columns.put_pod(with_port("x", 80), "a")
    columns.put_pod(with_port("y", 80, address="10.0.0.1"), "b")
    reason = "node(s) didn't have free ports for the requested pod ports"
    assert rejected(NodePorts(), with_port("p", 80), columns) == {reason: {"a", "b"}}
    assert rejected(NodePorts(), with_port("p", 80, address="10.0.0.2"), columns) == {reason: {"a"}}
    assert rejected(NodePorts(), with_port("p", 80, "UDP"), columns) == {}
    assert rejected(NodePorts(), pod("p"), columns) == {}
    columns.remove_pod("default/x")
    assert rejected(NodePorts(), with_port("p", 80), columns) == {reason: {"b"}}


def constraint(**more: Any) -> TopologySpreadConstraint:
    made: dict[str, Any] = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": LabelSelector(matchLabels={"app": "x"}),
    }
    return TopologySpreadConstraint(**(made | more))


def zones() -> Columns:
    return world(
        node_item("a1", labels={ZONE: "a"}),
        node_item("a2", labels={ZONE: "a"}),
        node_item("b1", labels={ZONE: "b"}),
        node_item("none"),
    )


def spread(name: str, *constraints: TopologySpreadConstraint, **more: Any) -> PodInfo:
    labels = more.pop("labels", {"app": "x"})
    return pod(name, labels=labels, topologySpreadConstraints=constraints, **more)


NOT_MATCHED = "node(s) didn't match pod topology spread constraints"
MISSING = f"{NOT_MATCHED} (missing required label)"


def test_hard_spread() -> None:
    columns, info = zones(), spread("p", constraint())
    assert rejected(PodTopologySpread(), info, columns) == {MISSING: {"none"}}
    columns.put_pod(spread("x"), "a1")
    assert rejected(PodTopologySpread(), info, columns) == {
        MISSING: {"none"},
        NOT_MATCHED: {"a1", "a2"},
    }
    columns.put_pod(spread("y"), "b1")
    assert rejected(PodTopologySpread(), info, columns) == {MISSING: {"none"}}


def test_pods_that_do_not_match_or_are_on_their_way_out_do_not_count() -> None:
    columns, info = zones(), spread("p", constraint())
    columns.put_pod(spread("x", labels={"app": "y"}), "a1")
    columns.put_pod(spread("y", deleting=True), "a1")
    assert rejected(PodTopologySpread(), info, columns) == {MISSING: {"none"}}


def test_min_domains() -> None:
    columns, info = zones(), spread("p", constraint(minDomains=3))
    columns.put_pod(spread("x"), "a1")
    columns.put_pod(spread("y"), "b1")
    assert rejected(PodTopologySpread(), info, columns)[NOT_MATCHED] == {"a1", "a2", "b1"}


def test_only_nodes_that_the_affinity_allows_count() -> None:
    columns = zones()
    columns.put_pod(spread("x"), "a1")
    own = spread("p", constraint(), nodeSelector={ZONE: "a"})
    assert rejected(PodTopologySpread(), own, columns) == {MISSING: {"none"}}
    ignoring = spread("p", constraint(nodeAffinityPolicy="Ignore"), nodeSelector={ZONE: "a"})
    assert rejected(PodTopologySpread(), ignoring, columns)[NOT_MATCHED] == {"a1", "a2"}


def test_match_label_keys() -> None:
    columns = zones()
    columns.put_pod(spread("x", labels={"app": "x", "hash": "1"}), "a1")
    info = spread("p", constraint(matchLabelKeys=("hash",)), labels={"app": "x", "hash": "2"})
    assert rejected(PodTopologySpread(), info, columns) == {MISSING: {"none"}}


def test_soft_spread_prefers_the_emptier_zone() -> None:
    columns = zones()
    columns.put_pod(spread("x"), "a1")
    found = scores(
        PodTopologySpread(),
        spread("p", constraint(whenUnsatisfiable="ScheduleAnyway")),
        columns,
    )
    assert found is not None
    assert found["b1"] > found["a1"] == found["a2"]
    assert found["none"] == 0


def test_every_rejecting_plugin_names_what_cures_it() -> None:
    for plugin in FILTERS:
        assert ClusterEvent.NODE_ADDED in plugin.events
    assert len({plugin.name for plugin in FILTERS}) == len(FILTERS)
    assert {weight for _, weight in SCORES} == {1, 2, 3}
