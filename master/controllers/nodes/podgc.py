"""Deletes pods that nobody will ever end: no node, no machine behind it, too many finished ones.

Source: pkg/controller/podgc of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api import conditions, times
from common.api.resource import Resource
from common.api.types.core_v1 import Node, Pod, PodCondition
from common.client.commands import Command, Delete, Patch, Requeue
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import PODS

KEY = "pods"
"""All pods are looked at together: the limit of finished ones is of the cluster."""
FINISHED = ("Succeeded", "Failed")
FINISHED_MAX = 12500
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
PERIOD_SECONDS = 20.0
QUARANTINE_SECONDS = 40.0
"""How old a pod on an unknown node must be: its node may be about to be shown."""


class PodGarbageCollector:
    """Looks at every pod now and then."""

    name: ClassVar[str] = "podgc"
    account: ClassVar[str] = "pod-garbage-collector"
    watches: ClassVar[Sequence[str]] = ("nodes",)

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The one key; it comes back by itself."""
        return [KEY] if old is None or new is None else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Force the deletion of what no kubelet will confirm."""
        nodes = {item.name: item for item in view["nodes"].list()}
        commands: list[Command] = []
        finished = []
        for item in view["pods"].list():
            if item.node and item.node not in nodes:
                commands += _orphan(item, now)
            elif item.deleting and not item.node:
                commands.append(_force(item, "it was never bound"))
            elif item.deleting and _out_of_service(nodes[item.node]):
                commands += _fail(item, now, f"node {item.node} is out of service")
            elif item.phase in FINISHED and not item.deleting:
                finished.append(item)
        for item in _oldest(finished, len(finished) - FINISHED_MAX):
            commands.append(_force(item, f"more than {FINISHED_MAX} pods have finished"))
        return [*commands, Requeue(after_seconds=PERIOD_SECONDS, reason="the next look")]


def _out_of_service(item: Item) -> bool:
    """Whether an administrator has said that the machine is off for good."""
    return any(taint.key == OUT_OF_SERVICE for taint in item.decode(Node).spec.taints)


def _orphan(item: Item, now: datetime) -> list[Command]:
    """A pod of a node that is no longer there."""
    pod = item.decode(Pod)
    if times.age_seconds(pod.metadata.creationTimestamp, now) < QUARANTINE_SECONDS:
        return []
    return _fail(item, now, f"node {item.node} does not exist")


def _fail(item: Item, now: datetime, why: str) -> list[Command]:
    """Set the phase, so that its controller sees an end, and delete at once."""
    if item.phase in FINISHED:
        return [_force(item, why)]
    condition = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="DeletionByPodGC",
        message=f"PodGC: {why}",
        lastTransitionTime=times.to_time(now),
    )
    made = conditions.put(item.decode(Pod).status.conditions, condition)
    status = {"phase": "Failed", "conditions": msgspec.to_builtins(made)}
    patch = Patch(
        resource=PODS,
        namespace=item.namespace,
        name=item.name,
        patch={"metadata": item.pin, "status": status},
        reason=why,
        subresource="status",
    )
    return [patch, _force(item, why)]


def _force(item: Item, why: str) -> Command:
    return Delete(
        resource=PODS,
        namespace=item.namespace,
        name=item.name,
        uid=item.uid,
        reason=why,
        grace_period_seconds=0,
    )


def _oldest(items: list[Item], count: int) -> list[Item]:
    if count <= 0:
        return []
    return sorted(items, key=lambda i: i.decode(Pod).metadata.creationTimestamp or "")[:count]
