"""ReplicaSets: keep a number of pods of one template. What they do is in `replicas`.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from common.api import labels
from common.api.resource import Resource
from common.api.types.apps_v1 import ReplicaSet, ReplicaSetCondition
from master.controllers.lib.resources import REPLICA_SETS
from master.controllers.workloads.replicas import Counts, Owner, ReplicasController


class ReplicaSetController(ReplicasController):
    """Creates and deletes pods, and tells in the status how many there are."""

    name: ClassVar[str] = "replicaset"
    account: ClassVar[str] = "replicaset-controller"
    watches: ClassVar[Sequence[str]] = ("replicasets.apps", "pods")
    resource: ClassVar[Resource] = REPLICA_SETS
    kind: ClassVar[type[Any]] = ReplicaSet
    condition: ClassVar[type[Any]] = ReplicaSetCondition

    def owner(self, obj: ReplicaSet) -> Owner:
        """What the core needs to know of it."""
        return Owner(
            resource=REPLICA_SETS,
            metadata=obj.metadata,
            selector=labels.from_label_selector(obj.spec.selector),
            template=obj.spec.template,
            replicas=1 if obj.spec.replicas is None else obj.spec.replicas,
            min_ready_seconds=obj.spec.minReadySeconds,
        )

    def numbers(self, counts: Counts) -> dict[str, int]:
        """Those of any owner, and the pods on their way out."""
        return {**super().numbers(counts), "terminatingReplicas": counts.terminating}
