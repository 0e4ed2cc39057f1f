"""Machines that fail: lost nodes, taints, evictions in time, none in doubt; orphaned pods."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from common.api import conditions, times
from common.api.types.coordination_v1 import Lease, LeaseSpec
from common.api.types.core_v1 import (
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Taint,
    Toleration,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Delete, Requeue
from master.controllers.nodes.heartbeats import NodeHeartbeats
from master.controllers.nodes.nodelifecycle import GRACE_SECONDS, LEASES, NodeLifecycleController
from master.controllers.nodes.podgc import KEY, PodGarbageCollector
from master.controllers.nodes.tainteviction import TaintEvictionController
from tests.unit.controllers.sim import Cluster

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
EVICTION, COLLECTOR = TaintEvictionController(), PodGarbageCollector()


class Nodes:
    """A cluster of nodes whose heartbeats a test can end."""

    def __init__(self, count: int) -> None:
        self.cluster = Cluster()
        self.silent_since: dict[str, datetime] = {}
        self.streamed: set[str] = set()
        signs = NodeHeartbeats(self.silence, self.streamed, self.cluster.monotonic)
        self.lifecycle = NodeLifecycleController(signs)
        self.names = [f"n{number}" for number in range(1, count + 1)]
        for name in self.names:
            self.add(name)

    def add(self, name: str, ready: str = "True", **spec: Any) -> None:
        """A node as its kubelet has registered it."""
        made = (NodeCondition(type="Ready", status=ready),) if ready else ()
        self.cluster.put(
            Node(
                metadata=ObjectMeta(name=name),
                spec=NodeSpec(**spec),
                status=NodeStatus(conditions=made),
            )
        )

    def silence(self, name: str) -> float:
        """For how many seconds nothing has come from a node."""
        return (self.cluster.now - self.silent_since.get(name, self.cluster.now)).total_seconds()

    def lose(self, *names: str) -> None:
        """Heartbeats end."""
        for name in names:
            self.silent_since[name] = self.cluster.now

    def wait(self, seconds: float) -> None:
        """Time goes by; every controller has looked at everything."""
        self.cluster.advance(seconds)
        for _ in range(4):
            for name in self.names:
                self.cluster.reconcile(self.lifecycle, name)
        for pod in self.cluster.list(Pod):
            self.cluster.reconcile(EVICTION, f"default/{pod.metadata.name}")

    def ready(self, name: str) -> str:
        """The condition Ready of a node."""
        found = conditions.find(self.cluster.get(Node, name, "").status.conditions, "Ready")
        return found.status if found is not None else ""

    def taints(self, name: str) -> list[tuple[str, str]]:
        """(key, effect) of a node's taints."""
        return [(t.key, t.effect) for t in self.cluster.get(Node, name, "").spec.taints]

    def pods(self) -> list[str]:
        """The names of the pods that are left."""
        return [pod.metadata.name for pod in self.cluster.list(Pod)]


def tolerates(seconds: int | None, key: str = UNREACHABLE) -> Toleration:
    """Puts up with a lost node for a while, or for good."""
    return Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=seconds)


def a_pod(nodes: Nodes, name: str, node: str, *tolerations: Toleration) -> None:
    """A ready pod that is bound to a node."""
    nodes.cluster.put(
        Pod(
            metadata=ObjectMeta(name=name, namespace="default"),
            spec=PodSpec(nodeName=node, tolerations=tolerations),
            status=PodStatus(
                phase="Running", conditions=(PodCondition(type="Ready", status="True"),)
            ),
        )
    )


def test_a_silent_node_is_lost_within_twenty_seconds_and_its_pods_are_not_ready() -> None:
    nodes = Nodes(3)
    a_pod(nodes, "p", "n2", tolerates(300))
    nodes.lose("n2")
    nodes.wait(GRACE_SECONDS - 1)
    assert nodes.ready("n2") == "True"
    nodes.wait(1)
    assert GRACE_SECONDS <= 20
    assert nodes.ready("n2") == "Unknown"
    assert nodes.taints("n2") == [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    [pod] = nodes.cluster.list(Pod)
    assert not conditions.is_true(pod.status.conditions, "Ready")
    told = sorted((event.about["kind"], event.reason) for event in nodes.cluster.events)
    assert told == [("Node", "NodeNotReady"), ("Pod", "NodeNotReady")]
    assert nodes.ready("n1") == "True"
    assert nodes.taints("n1") == []


def test_a_healthy_node_is_looked_at_again_before_it_can_be_late() -> None:
    nodes = Nodes(1)
    [command] = nodes.cluster.reconcile(nodes.lifecycle, "n1")
    assert isinstance(command, Requeue)
    assert command.after_seconds <= GRACE_SECONDS


def test_a_pod_leaves_after_the_time_that_it_tolerates() -> None:
    nodes = Nodes(3)
    a_pod(nodes, "now", "n2")
    a_pod(nodes, "soon", "n2", tolerates(10))
    a_pod(nodes, "later", "n2", tolerates(300), tolerates(60))
    a_pod(nodes, "never", "n2", tolerates(None))
    a_pod(nodes, "elsewhere", "n1")
    nodes.lose("n2")
    nodes.wait(GRACE_SECONDS)
    assert nodes.pods() == ["elsewhere", "later", "never", "soon"]
    nodes.wait(10)
    assert "soon" in nodes.pods(), "the taint's stamp may be short of a second"
    nodes.wait(1)
    assert nodes.pods() == ["elsewhere", "later", "never"]
    nodes.wait(50)
    assert nodes.pods() == ["elsewhere", "never"]
    nodes.wait(100_000)
    assert nodes.pods() == ["elsewhere", "never"]


def test_a_pod_that_comes_to_a_tainted_node_has_its_whole_time() -> None:
    """Else its ReplicaSet would make pods and lose them as fast as it can."""
    nodes = Nodes(1)
    taint = Taint(key="bad", effect="NoExecute", timeAdded=times.to_time(nodes.cluster.now))
    node = nodes.cluster.get(Node, "n1", "")
    node.spec.taints = (taint,)
    nodes.cluster.put(node)
    nodes.wait(3600)
    a_pod(nodes, "late", "n1", tolerates(30, "bad"))
    late = nodes.cluster.get(Pod, "late")
    stamp = times.to_time(nodes.cluster.now)
    bound = PodCondition(type="PodScheduled", status="True", lastTransitionTime=stamp)
    late.status.conditions = (bound,)
    nodes.cluster.put(late)
    nodes.wait(30)
    assert nodes.pods() == ["late"]
    nodes.wait(1)
    assert nodes.pods() == []


def test_a_node_that_comes_back_in_time_keeps_its_pods() -> None:
    nodes = Nodes(3)
    a_pod(nodes, "p", "n2", tolerates(10))
    nodes.lose("n2")
    nodes.wait(GRACE_SECONDS + 5)
    assert (UNREACHABLE, "NoExecute") in nodes.taints("n2")
    del nodes.silent_since["n2"]
    node = nodes.cluster.get(Node, "n2", "")
    node.status.conditions = (NodeCondition(type="Ready", status="True"),)
    nodes.cluster.put(node)
    nodes.wait(1)
    assert nodes.taints("n2") == []
    nodes.wait(1000)
    assert nodes.pods() == ["p"]


@pytest.mark.parametrize("count", [1, 3, 10])
def test_when_all_fall_silent_at_once_nobody_is_driven_out(count: int) -> None:
    nodes = Nodes(count)
    for name in nodes.names:
        a_pod(nodes, f"p-{name}", name)
    nodes.lose(*nodes.names)
    for _ in range(40):
        nodes.wait(GRACE_SECONDS)
    assert all(nodes.ready(name) == "Unknown" for name in nodes.names)
    assert all(nodes.taints(name) == [(UNREACHABLE, "NoSchedule")] for name in nodes.names)
    assert len(nodes.pods()) == count


def test_heartbeats_that_end_within_one_period_count_as_together() -> None:
    nodes = Nodes(3)
    for name in nodes.names:
        a_pod(nodes, f"p-{name}", name)
        nodes.lose(name)
        nodes.wait(2)
    for _ in range(100):
        nodes.wait(1)
    assert len(nodes.pods()) == 3


def test_when_most_are_gone_evictions_stop_and_go_on_when_they_are_back() -> None:
    nodes = Nodes(5)
    a_pod(nodes, "p", "n1", tolerates(10))
    nodes.lose("n1", "n2", "n3")
    for _ in range(20):
        nodes.wait(GRACE_SECONDS)
    assert nodes.pods() == ["p"]
    for name in ("n2", "n3"):
        del nodes.silent_since[name]
        node = nodes.cluster.get(Node, name, "")
        node.status.conditions = (NodeCondition(type="Ready", status="True"),)
        nodes.cluster.put(node)
    nodes.wait(1)
    assert (UNREACHABLE, "NoExecute") in nodes.taints("n1")
    nodes.wait(11)
    assert nodes.pods() == []


@pytest.mark.parametrize(
    ("ready", "cordoned", "expected"),
    [
        ("True", False, []),
        ("False", False, [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        ("Unknown", False, [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        ("", False, [(NOT_READY, "NoSchedule")]),
        ("True", True, [(UNSCHEDULABLE, "NoSchedule")]),
    ],
)
def test_taints_of_a_node(ready: str, cordoned: bool, expected: list[tuple[str, str]]) -> None:
    nodes = Nodes(1)
    stale = Taint(key=NOT_READY, effect="NoExecute", timeAdded=times.to_time(nodes.cluster.now))
    other = Taint(key="mine", effect="NoSchedule")
    nodes.add("n1", ready, taints=(other, stale), unschedulable=cordoned)
    nodes.wait(0)
    assert sorted(nodes.taints("n1")) == sorted([("mine", "NoSchedule"), *expected])


def test_keys_are_all_nodes_when_one_is_lost_and_else_the_node_alone() -> None:
    nodes = Nodes(3)
    view, reader = nodes.cluster.view, nodes.cluster.reader(Node)
    before = reader.get("", "n2")
    assert set(nodes.lifecycle.keys(view, reader.resource, before, before)) == {"n2"}
    nodes.add("n2", "Unknown")
    after = reader.get("", "n2")
    assert set(nodes.lifecycle.keys(view, reader.resource, before, after)) == {"n1", "n2", "n3"}


def test_pods_that_nobody_will_end_are_deleted() -> None:
    nodes = Nodes(1)
    gone = times.to_time(nodes.cluster.now)
    off = Taint(key="node.kubernetes.io/out-of-service", effect="NoExecute")
    nodes.add("off", taints=(off,))
    a_pod(nodes, "keeps", "n1")
    a_pod(nodes, "orphan", "no-such-node")
    for name, node in (("unbound", ""), ("off", "off"), ("waits", "n1")):
        meta = ObjectMeta(name=name, namespace="default", deletionTimestamp=gone)
        nodes.cluster.put(Pod(metadata=meta, spec=PodSpec(nodeName=node)))
    deleted = [c.name for c in nodes.cluster.reconcile(COLLECTOR, KEY) if isinstance(c, Delete)]
    assert deleted == ["off", "unbound"], "the orphan's node may be about to be shown"
    nodes.cluster.advance(60)
    commands = nodes.cluster.reconcile(COLLECTOR, KEY)
    [delete] = [c for c in commands if isinstance(c, Delete)]
    assert (delete.name, delete.grace_period_seconds) == ("orphan", 0)
    assert isinstance(commands[-1], Requeue)
    assert nodes.pods() == ["keeps", "waits"]


def test_the_oldest_finished_pods_go_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("master.controllers.nodes.podgc.FINISHED_MAX", 2)
    nodes = Nodes(1)
    for number in range(4):
        meta = ObjectMeta(name=f"p{number}", namespace="default")
        nodes.cluster.put(
            Pod(metadata=meta, spec=PodSpec(nodeName="n1"), status=PodStatus(phase="Failed"))
        )
        nodes.cluster.advance(1)
    nodes.cluster.reconcile(COLLECTOR, KEY)
    assert nodes.pods() == ["p2", "p3"]


def test_what_changes_with_a_node_is_told_by_events_about_it() -> None:
    nodes = Nodes(2)
    nodes.add("n1", ready="False")
    nodes.wait(0)
    nodes.add("n1", ready="True", taints=nodes.cluster.get(Node, "n1", "").spec.taints)
    nodes.wait(0)
    nodes.wait(1)
    told = [(e.about["kind"], e.about["name"], e.reason) for e in nodes.cluster.events]
    assert told == [("Node", "n1", "NodeNotReady"), ("Node", "n1", "NodeReady")]
    nodes.add("n2", unschedulable=True)
    nodes.wait(0)
    nodes.lose("n2")
    nodes.wait(GRACE_SECONDS + 1)
    nodes.wait(1)
    told = [(e.about["name"], e.message) for e in nodes.cluster.events[2:]]
    assert told == [
        ("n2", "Node n2 status is now: NodeNotSchedulable"),
        ("n2", "Node n2 status is now: NodeNotReady"),
    ]


class Agent:
    """Somebody else's agent: no stream, but a Lease and a status, with a clock of its own."""

    def __init__(self, nodes: Nodes, name: str) -> None:
        self.nodes, self.name = nodes, name
        self.count = 0
        nodes.lose(name)
        self.leases = nodes.cluster.listers[LEASES]
        self.renew()

    def renew(self) -> list[str]:
        """Write the Lease; the times in it are an hour behind."""
        self.count += 1
        before = self.leases.get("kube-node-lease", self.name)
        meta = ObjectMeta(name=self.name, namespace="kube-node-lease")
        behind = self.nodes.cluster.now - timedelta(hours=1) + timedelta(seconds=self.count)
        spec = LeaseSpec(renewTime=times.to_micro_time(behind))
        new = self.nodes.cluster.put(Lease(metadata=meta, spec=spec))
        keys = self.nodes.lifecycle.keys(self.nodes.cluster.view, self.leases.resource, before, new)
        return list(keys)

    def post(self, status: str) -> None:
        """Write the condition Ready, with a heartbeat."""
        self.count += 1
        nodes = self.nodes.cluster.listers["nodes"]
        before = nodes.by_key(self.name)
        node = self.nodes.cluster.get(Node, self.name, "")
        beat = times.to_time(self.nodes.cluster.now - timedelta(hours=self.count))
        ready = NodeCondition(type="Ready", status=status, lastHeartbeatTime=beat)
        node.status.conditions = (ready,)
        new = self.nodes.cluster.put(node)
        list(self.nodes.lifecycle.keys(self.nodes.cluster.view, nodes.resource, before, new))


@pytest.mark.parametrize("way", ["lease", "status"])
def test_a_node_without_a_stream_lives_by_what_it_writes(way: str) -> None:
    nodes = Nodes(2)
    agent = Agent(nodes, "n1")
    beat = agent.renew if way == "lease" else lambda: agent.post("True")
    for _ in range(8):
        nodes.wait(10)
        beat()
        nodes.wait(0)
        assert (nodes.ready("n1"), nodes.taints("n1")) == ("True", [])
    nodes.wait(45)
    assert nodes.ready("n1") == "True", "it may miss more than one"
    nodes.wait(6)
    assert nodes.ready("n1") == "Unknown"
    assert (UNREACHABLE, "NoExecute") in nodes.taints("n1")
    agent.renew()
    agent.post("True")
    nodes.wait(0)
    assert (nodes.ready("n1"), nodes.taints("n1")) == ("True", [])


def test_a_lease_that_is_there_or_renewed_by_nobody_is_no_sign_of_life() -> None:
    nodes = Nodes(1)
    agent = Agent(nodes, "n1")
    seen = agent.leases.get("kube-node-lease", "n1")
    kind, view = agent.leases.resource, nodes.cluster.view
    nodes.wait(GRACE_SECONDS - 1)
    assert list(nodes.lifecycle.keys(view, kind, None, seen)) == []
    assert list(nodes.lifecycle.keys(view, kind, seen, seen)) == []
    nodes.wait(2)
    assert nodes.ready("n1") == "Unknown"
    assert agent.renew() == ["n1"], "a lost node is looked at again"


def test_what_this_master_writes_for_a_node_with_a_stream_does_not_count() -> None:
    nodes = Nodes(2)
    nodes.streamed.add("n1")
    agent = Agent(nodes, "n1")
    agent.post("True")
    nodes.wait(GRACE_SECONDS)
    assert nodes.ready("n1") == "Unknown"
    agent.renew()
    agent.post("True")
    nodes.wait(GRACE_SECONDS)
    assert nodes.ready("n1") == "True", "another agent runs it now"
