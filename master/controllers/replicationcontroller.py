"""ReplicationControllers: keep a number of pods of one template.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api import conditions, labels, times
from common.api.resource import Resource
from common.api.types.core_v1 import (
    PodTemplateSpec,
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from common.client.commands import Command, Update
from common.client.informer import Item
from master.controllers import replicas
from master.controllers.base import View
from master.controllers.resources import REPLICATION_CONTROLLERS


class ReplicationControllerController:
    """Creates and deletes pods, and tells in the status how many there are."""

    name: ClassVar[str] = "replicationcontroller"
    watches: ClassVar[Sequence[str]] = ("replicationcontrollers", "pods")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The key itself; for a pod, its ReplicationController before and after."""
        items = [item for item in (old, new) if item is not None]
        if resource.plural != "pods":
            return {item.key for item in items}
        found = [
            replicas.owners(view, "replicationcontrollers", "ReplicationController", item)
            for item in items
        ]
        return {key for keys in found for key in keys}

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Status first, so that a refused create does not keep it from being told."""
        item = view["replicationcontrollers"].by_key(key)
        if item is None:
            return []
        owner = item.decode(ReplicationController)
        counts, commands = replicas.plan(_owner(owner), view, now)
        status = _status(owner, counts, now)
        if status == owner.status:
            return commands
        owner.status = status
        reason = f"{counts.replicas} pods, {counts.ready} ready, {counts.available} available"
        update = Update(
            resource=REPLICATION_CONTROLLERS, body=owner, reason=reason, subresource="status"
        )
        return [update, *commands]


def _owner(owner: ReplicationController) -> replicas.Owner:
    return replicas.Owner(
        resource=REPLICATION_CONTROLLERS,
        metadata=owner.metadata,
        selector=labels.from_map(owner.spec.selector),
        template=owner.spec.template or PodTemplateSpec(),
        replicas=1 if owner.spec.replicas is None else owner.spec.replicas,
        min_ready_seconds=owner.spec.minReadySeconds,
    )


def _status(
    owner: ReplicationController, counts: replicas.Counts, now: datetime
) -> ReplicationControllerStatus:
    return msgspec.structs.replace(
        owner.status,
        replicas=counts.replicas,
        fullyLabeledReplicas=counts.fully_labeled,
        readyReplicas=counts.ready,
        availableReplicas=counts.available,
        observedGeneration=owner.metadata.generation,
        conditions=_conditions(owner.status.conditions, counts.failed, now),
    )


def _conditions(
    old: tuple[ReplicationControllerCondition, ...], failed: tuple[str, str] | None, now: datetime
) -> tuple[ReplicationControllerCondition, ...]:
    """ReplicaFailure is there while a command is refused, and says the first reason."""
    if failed is None:
        return conditions.without(old, "ReplicaFailure")
    if conditions.find(old, "ReplicaFailure") is not None:
        return old
    new = ReplicationControllerCondition(
        type="ReplicaFailure",
        status="True",
        reason=failed[0],
        message=failed[1],
        lastTransitionTime=times.to_time(now),
    )
    return (*old, new)
