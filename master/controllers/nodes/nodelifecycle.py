"""Finds out that a node is lost, and says with taints what is wrong with a node.

Nodes' heartbeats are in memory of the master that holds their stream; nothing is written while
they come. Of a node without a stream the master watches what it writes (`heartbeats`). A node
that has been silent for too long is no longer Ready, its pods are not ready at once, and its
taints drive them out after the time that each of them tolerates (`tainteviction`). When most nodes
fall silent together, more likely than not it is this master that is cut off: then nobody is driven
out. Source: https://kubernetes.io/docs/concepts/architecture/nodes/ and
pkg/controller/nodelifecycle of Kubernetes; the shorter grace is in docs/decisions/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from common.api import conditions, times
from common.api.resource import Resource
from common.api.types.coordination_v1 import Lease
from common.api.types.core_v1 import Node, NodeCondition, Pod, PodCondition, Taint
from common.api.wellknown import NODE_LEASES, NOT_READY, UNREACHABLE, UNSCHEDULABLE
from common.client.commands import Command, Event, Patch, Requeue
from common.client.events import reference
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import NODES, PODS
from master.controllers.nodes.heartbeats import NodeHeartbeats

AWAY = frozenset({NOT_READY, UNREACHABLE})
OURS = AWAY | {UNSCHEDULABLE}
GRACE_SECONDS = 15.0
"""Silence after which a node is lost: three heartbeats."""
SUSPECT_SECONDS = 10.0
"""Silence after which a node no longer counts as a healthy one beside a lost one."""
UNHEALTHY_SHARE, UNHEALTHY_MIN = 0.55, 3
"""From so many lost nodes on, and so large a share, the cause is elsewhere: evictions stop."""
SILENT = "NodeStatusUnknown"
SILENT_TEXT = "Kubelet stopped posting node status."

LEASES = "leases.coordination.k8s.io"
Wanted = list[tuple[str, str]]
"""(key, effect) of taints."""


class NodeLifecycleController:
    """One node: its condition Ready, its pods' readiness, and its taints."""

    name: ClassVar[str] = "nodelifecycle"
    account: ClassVar[str] = "node-controller"
    watches: ClassVar[Sequence[str]] = ("nodes", "pods", LEASES)

    def __init__(self, signs: NodeHeartbeats) -> None:
        self._signs = signs
        self._silence = signs.silence_seconds
        self._settled: dict[str, int] = {}
        """Nodes whose taints are right while they live, with their revision."""

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The node; all nodes when one was lost or found; the node of a pod just bound.

        What a node writes to show that it lives is noted on the way.
        """
        if resource.plural == "leases":
            return self._renewed(old, new)
        if resource.plural == "pods":
            bound = new is not None and new.node and (old is None or not old.node)
            return [new.node] if new is not None and bound else []
        self._note(old, new)
        before, after = _status_of(old), _status_of(new)
        if before != after and "Unknown" in (before, after):
            return [item.key for item in view["nodes"].list()]
        return [new.key] if new is not None else []

    def _renewed(self, old: Item | None, new: Item | None) -> list[str]:
        """The node of a Lease that has been renewed."""
        if old is None or new is None or new.namespace != NODE_LEASES:
            return []
        if new.decode(Lease).spec.renewTime == old.decode(Lease).spec.renewTime:
            return []
        self._signs.renewed(new.name)
        return [new.name]

    def _note(self, old: Item | None, new: Item | None) -> None:
        """A heartbeat in a node's status; or no more of a node that is gone."""
        if old is None:
            return
        if new is None:
            self._signs.forget(old.name)
            self._settled.pop(old.key, None)
        elif _heartbeat(old) != _heartbeat(new):
            self._signs.status_heartbeat(new.name)

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """One thing at a time: the condition, then taints and pods; look again before too long."""
        item = view["nodes"].by_key(key)
        if item is None:
            return []
        silence = self._silence(key)
        rest = max(0.5, GRACE_SECONDS - silence)
        again = Requeue(after_seconds=rest, reason="to see if it lives")
        if silence < GRACE_SECONDS and self._settled.get(key) == item.revision:
            return [again]
        node = item.decode(Node)
        status = _ready_status(node)
        if silence < GRACE_SECONDS:
            changes = self._taints(item, node, view, now)
            if not changes and status != "Unknown":
                self._settled[key] = item.revision
            return [*changes, again]
        if status != "Unknown" and conditions.find(node.status.conditions, "Ready") is not None:
            return [_lost(item, node, now), *_not_ready_pods(key, view, now)]
        again = Requeue(after_seconds=GRACE_SECONDS, reason="it is lost")
        pods = _not_ready_pods(key, view, now) if status == "Unknown" else []
        return [*self._taints(item, node, view, now), *pods, again]

    def _taints(self, item: Item, node: Node, view: View, now: datetime) -> list[Command]:
        """Add and remove our taints; those of others stay."""
        lost = _ready_status(node) == "Unknown"
        wanted = _wanted(node, evicting=lost and not self._disrupted(view))
        kept = [t for t in node.spec.taints if t.key not in OURS or (t.key, t.effect) in wanted]
        there = {(taint.key, taint.effect) for taint in kept}
        added = [_taint(*entry, now) for entry in wanted if entry not in there]
        if not added and len(kept) == len(node.spec.taints):
            return []
        taints = msgspec.to_builtins([*kept, *added])
        return [
            Patch(
                resource=NODES,
                namespace="",
                name=item.name,
                patch={"metadata": item.pin, "spec": {"taints": taints}},
                reason=f"node {item.name}: {_words(wanted)}",
            ),
            *_events(node, wanted),
        ]

    def _disrupted(self, view: View) -> bool:
        """Whether so many nodes are silent that this master itself may be the one cut off."""
        items = view["nodes"].list()
        silent = sum(self._silence(item.key) >= SUSPECT_SECONDS for item in items)
        most = silent >= UNHEALTHY_MIN and silent >= UNHEALTHY_SHARE * len(items)
        return silent == len(items) or most


def _status_of(item: Item | None) -> str:
    return _ready_status(item.decode(Node)) if item is not None else "gone"


def _heartbeat(item: Item) -> str | None:
    ready = conditions.find(item.decode(Node).status.conditions, "Ready")
    return ready.lastHeartbeatTime if ready is not None else None


def _ready_status(node: Node) -> str:
    ready = conditions.find(node.status.conditions, "Ready")
    return ready.status if ready is not None else ""


def _wanted(node: Node, *, evicting: bool) -> Wanted:
    """The taints that the node should have of ours."""
    status = _ready_status(node)
    taints: Wanted = []
    if status == "Unknown":
        taints.append((UNREACHABLE, "NoSchedule"))
        if evicting:
            taints.append((UNREACHABLE, "NoExecute"))
    elif status != "True":
        taints.append((NOT_READY, "NoSchedule"))
        if status == "False":
            taints.append((NOT_READY, "NoExecute"))
    if node.spec.unschedulable:
        taints.append((UNSCHEDULABLE, "NoSchedule"))
    return taints


def _events(node: Node, wanted: Wanted) -> list[Command]:
    """What has changed, as `kubectl describe node` tells it."""
    before, after = {taint.key for taint in node.spec.taints}, {key for key, _ in wanted}
    events = []
    if before.isdisjoint(AWAY) != after.isdisjoint(AWAY):
        events.append("NodeReady" if after.isdisjoint(AWAY) else "NodeNotReady")
    if (UNSCHEDULABLE in before) != (UNSCHEDULABLE in after):
        events.append("NodeNotSchedulable" if UNSCHEDULABLE in after else "NodeSchedulable")
    about, name = reference("v1", "Node", node.metadata), node.metadata.name
    return [
        Event(about=about, type="Normal", reason=what, message=f"Node {name} status is now: {what}")
        for what in events
    ]


def _lost(item: Item, node: Node, now: datetime) -> Command:
    """Every condition that the kubelet reports is unknown from now on."""
    for condition in node.status.conditions:
        unknown = NodeCondition(
            type=condition.type,
            status="Unknown",
            reason=SILENT,
            message=SILENT_TEXT,
            lastHeartbeatTime=condition.lastHeartbeatTime,
            lastTransitionTime=times.to_time(now),
        )
        node.status.conditions = conditions.put(node.status.conditions, unknown)
    return _conditions_patch(NODES, item, node.status.conditions, f"node {item.name} is silent")


def _not_ready_pods(name: str, view: View, now: datetime) -> list[Command]:
    """Pods of a lost node serve nobody: their services lead elsewhere at once."""
    commands: list[Command] = []
    for item in view["pods"].list():
        if item.node != name or item.phase in ("Succeeded", "Failed"):
            continue
        pod = item.decode(Pod)
        if not conditions.is_true(pod.status.conditions, "Ready"):
            continue
        stamp = times.to_time(now)
        unready = PodCondition(type="Ready", status="False", lastTransitionTime=stamp)
        changed = conditions.put(pod.status.conditions, unready)
        about = reference("v1", "Pod", pod.metadata)
        commands.append(_conditions_patch(PODS, item, changed, f"node {name} is lost"))
        commands.append(
            Event(about=about, type="Warning", reason="NodeNotReady", message="Node is not ready")
        )
    return commands


def _conditions_patch(resource: Resource, item: Item, made: tuple[Any, ...], why: str) -> Command:
    return Patch(
        resource=resource,
        namespace=item.namespace,
        name=item.name,
        patch={"metadata": item.pin, "status": {"conditions": msgspec.to_builtins(made)}},
        reason=why,
        subresource="status",
    )


def _taint(key: str, effect: str, now: datetime) -> Taint:
    return Taint(key=key, effect=effect, timeAdded=times.to_time(now))


def _words(wanted: Wanted) -> str:
    keys = sorted({key.rpartition("/")[2] for key, _ in wanted})
    return ", ".join(keys) or "ready and schedulable"
