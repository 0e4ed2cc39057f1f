"""Rules of ReplicaSet. Source: k8s.io/kubernetes pkg/registry/apps/replicaset."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api.types.apps_v1 import ReplicaSet, ReplicaSetSpec
from master.apiserver.registry.catalogue import Rules
from master.apiserver.resources.core.pod.poddefaults import default_template
from master.apiserver.resources.core.workload import (
    WorkloadStrategy,
    validate_lasting_template,
    validate_replicas,
    validate_selector,
)
from master.apiserver.resources.lib import cells
from master.apiserver.resources.lib.checks import Findings


def validate_spec(spec: ReplicaSetSpec) -> Findings:
    """Replicas, a selector, a template of lasting pods. Kubernetes speaks of deployments, too."""
    yield from validate_replicas(spec)
    yield from validate_selector(spec.selector, spec.template, "deployment")
    yield from validate_lasting_template(spec.template, "ReplicaSet")


class ReplicaSetStrategy(WorkloadStrategy):
    """A number of pods of one template."""

    rules = validate_spec

    def default(self, obj: ReplicaSet) -> None:
        """One replica."""
        if obj.spec.replicas is None:
            obj.spec.replicas = 1
        default_template(obj.spec.template)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ReplicaSet."""
    return {**cells.workload(obj), "Desired": obj.get("spec", {}).get("replicas", 0)}


RULES = {"replicasets.apps": Rules(ReplicaSetStrategy, cells_of)}
