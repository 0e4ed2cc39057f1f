"""Taints say what is wrong with a node: not ready, unreachable, cordoned.

Source: https://kubernetes.io/docs/reference/node/node-status/ and
pkg/controller/nodelifecycle of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api import conditions, times
from common.api.resource import Resource
from common.api.types.core_v1 import Node, Taint
from common.client.commands import Command, Patch
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.resources import NODES

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OURS = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE})


class NodeLifecycleController:
    """Keeps a node's taints equal to its condition Ready and its cordon."""

    name: ClassVar[str] = "nodelifecycle"
    watches: ClassVar[Sequence[str]] = ("nodes",)

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The node."""
        return [new.key] if new is not None else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Add and remove our taints; those of others stay."""
        item = view["nodes"].by_key(key)
        if item is None:
            return []
        node = item.decode(Node)
        wanted = _wanted(node)
        kept = [t for t in node.spec.taints if t.key not in OURS or (t.key, t.effect) in wanted]
        there = {(taint.key, taint.effect) for taint in kept}
        added = [_taint(*entry, now) for entry in wanted if entry not in there]
        if not added and len(kept) == len(node.spec.taints):
            return []
        pin = {"uid": item.uid, "resourceVersion": str(item.revision)}
        taints = msgspec.to_builtins([*kept, *added])
        return [
            Patch(
                resource=NODES,
                namespace="",
                name=item.name,
                patch={"metadata": pin, "spec": {"taints": taints}},
                reason=f"node {item.name}: {_words(wanted)}",
            )
        ]


def _wanted(node: Node) -> list[tuple[str, str]]:
    """(key, effect) of the taints that the node should have of ours."""
    ready = conditions.find(node.status.conditions, "Ready")
    status = ready.status if ready is not None else ""
    found: list[tuple[str, str]] = []
    if status == "Unknown":
        found += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    elif status != "True":
        found.append((NOT_READY, "NoSchedule"))
        if status == "False":
            found.append((NOT_READY, "NoExecute"))
    if node.spec.unschedulable:
        found.append((UNSCHEDULABLE, "NoSchedule"))
    return found


def _taint(key: str, effect: str, now: datetime) -> Taint:
    return Taint(key=key, effect=effect, timeAdded=times.to_time(now))


def _words(wanted: list[tuple[str, str]]) -> str:
    keys = sorted({key.rpartition("/")[2] for key, _ in wanted})
    return ", ".join(keys) or "ready and schedulable"
