"""Deletes pods whose node has a NoExecute taint, after as long as they tolerate it.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ and
pkg/controller/tainteviction of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api import conditions, times
from common.api.resource import Resource
from common.api.taints import matches
from common.api.types.core_v1 import Node, Pod, PodCondition, Taint
from common.client.commands import Command, Delete, Event, Patch, Requeue
from common.client.events import reference
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import PODS

FOREVER = float("inf")
STAMP_SECONDS = 1.0
"""What a stamp in whole seconds may be short of."""


class TaintEvictionController:
    """One pod and the taints of its node."""

    name: ClassVar[str] = "tainteviction"
    account: ClassVar[str] = "node-controller"
    watches: ClassVar[Sequence[str]] = ("pods", "nodes")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The pod; every pod of a node whose taints have changed."""
        item = new or old
        if item is None:
            return []
        if resource.plural == "pods":
            return [item.key] if item.node else []
        if _taints(old) == _taints(new):
            return []
        return [pod.key for pod in view["pods"].list() if pod.node == item.name]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Delete the pod when its time is over; wait while it is not."""
        item = view["pods"].by_key(key)
        if item is None or item.deleting or item.phase in ("Succeeded", "Failed"):
            return []
        node = view["nodes"].get("", item.node) if item.node else None
        taints = _taints(node)
        if not taints:
            return []
        pod = item.decode(Pod)
        seconds = min(_seconds_left(pod, taint, now) for taint in taints)
        if seconds == FOREVER:
            return []
        if seconds > 0:
            return [Requeue(after_seconds=seconds, reason="it tolerates a taint until then")]
        return _evict(item, pod, now)


def _taints(item: Item | None) -> list[Taint]:
    """A node's taints that drive pods out."""
    if item is None:
        return []
    return [taint for taint in item.decode(Node).spec.taints if taint.effect == "NoExecute"]


def _seconds_left(pod: Pod, taint: Taint, now: datetime) -> float:
    """How long the pod may stay: the shortest of the tolerations that are for the taint.

    It counts from when both the taint and the pod are there: a pod that comes later has its whole
    time, too. Stamps have whole seconds, and may be of a second ago when they are new.
    """
    described = (taint.key, taint.value, taint.effect)
    tolerations = [t for t in pod.spec.tolerations if matches(t, *described)]
    if not tolerations:
        return 0.0
    limits = [t.tolerationSeconds for t in tolerations if t.tolerationSeconds is not None]
    if not limits:
        return FOREVER
    if min(limits) <= 0:
        return 0.0
    since = min(times.age_seconds(stamp, now) for stamp in (taint.timeAdded, _came_at(pod)))
    return min(limits) + STAMP_SECONDS - since


def _came_at(pod: Pod) -> str | None:
    """When the pod came to its node: when it was bound, or made for it."""
    bound = conditions.find(pod.status.conditions, "PodScheduled")
    bound_at = bound.lastTransitionTime if bound is not None and bound.status == "True" else None
    return bound_at or pod.metadata.creationTimestamp


def _evict(item: Item, pod: Pod, now: datetime) -> list[Command]:
    """Say why, then delete with the pod's own grace."""
    condition = PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="DeletionByTaintManager",
        message="Taint manager: deleting due to NoExecute taint",
        lastTransitionTime=times.to_time(now),
    )
    changed = msgspec.to_builtins(conditions.put(pod.status.conditions, condition))
    reason = f"node {item.node} has a taint that the pod does not tolerate any longer"
    return [
        Event(
            about=reference("v1", "Pod", pod.metadata),
            type="Normal",
            reason="TaintManagerEviction",
            message=f"Marking for deletion Pod {item.key}",
        ),
        Patch(
            resource=PODS,
            namespace=item.namespace,
            name=item.name,
            patch={"metadata": item.pin, "status": {"conditions": changed}},
            reason=reason,
            subresource="status",
        ),
        Delete(
            resource=PODS,
            namespace=item.namespace,
            name=item.name,
            uid=item.uid,
            reason=reason,
        ),
    ]
