"""ReplicationControllers: keep a number of pods of one template. What they do is in `replicas`.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from common.api import labels
from common.api.resource import Resource
from common.api.types.core_v1 import (
    PodTemplateSpec,
    ReplicationController,
    ReplicationControllerCondition,
)
from master.controllers.lib.resources import REPLICATION_CONTROLLERS
from master.controllers.workloads.replicas import Owner, ReplicasController


class ReplicationControllerController(ReplicasController):
    """Creates and deletes pods, and tells in the status how many there are."""

    name: ClassVar[str] = "replicationcontroller"
    account: ClassVar[str] = "replication-controller"
    watches: ClassVar[Sequence[str]] = ("replicationcontrollers", "pods")
    resource: ClassVar[Resource] = REPLICATION_CONTROLLERS
    kind: ClassVar[type[Any]] = ReplicationController
    condition: ClassVar[type[Any]] = ReplicationControllerCondition

    def owner(self, obj: ReplicationController) -> Owner:
        """What the core needs to know of it."""
        return Owner(
            resource=REPLICATION_CONTROLLERS,
            metadata=obj.metadata,
            selector=labels.from_map(obj.spec.selector),
            template=obj.spec.template or PodTemplateSpec(),
            replicas=1 if obj.spec.replicas is None else obj.spec.replicas,
            min_ready_seconds=obj.spec.minReadySeconds,
        )
