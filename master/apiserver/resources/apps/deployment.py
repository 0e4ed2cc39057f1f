"""Rules of Deployment. Source: k8s.io/kubernetes pkg/registry/apps/deployment."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api import errors
from common.api.types.apps_v1 import (
    Deployment,
    DeploymentSpec,
    RollingUpdateDeployment,
)
from common.api.types.apps_v1 import (
    DeploymentStrategy as UpdateStrategy,
)
from master.apiserver.registry.catalogue import Rules
from master.apiserver.resources.core.pod.poddefaults import default_template
from master.apiserver.resources.core.workload import (
    REVISION_HISTORY_LIMIT,
    WorkloadStrategy,
    is_zero,
    validate_amount,
    validate_lasting_template,
    validate_replicas,
    validate_selector,
)
from master.apiserver.resources.lib import cells
from master.apiserver.resources.lib.checks import Findings, nonnegative

SURGE = "25%"
PROGRESS_DEADLINE_SECONDS = 600


def validate_spec(spec: DeploymentSpec) -> Findings:
    """Replicas, a selector, a template of lasting pods, and how to replace them."""
    yield from validate_replicas(spec)
    yield from validate_selector(spec.selector, spec.template, "deployment")
    yield from validate_lasting_template(spec.template, "ReplicaSet")
    yield from _update_strategy("spec.strategy", spec.strategy)
    deadline, path = spec.progressDeadlineSeconds, "spec.progressDeadlineSeconds"
    yield from nonnegative(path, deadline)
    if deadline is not None and deadline <= spec.minReadySeconds:
        yield errors.invalid(path, deadline, "must be greater than minReadySeconds")


def _update_strategy(path: str, strategy: UpdateStrategy) -> Findings:
    rolling = strategy.rollingUpdate
    if strategy.type == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            yield errors.forbidden(f"{path}.rollingUpdate", text)
    elif strategy.type != "RollingUpdate":
        yield errors.not_supported(path, strategy.type, ("Recreate", "RollingUpdate"))
    elif rolling is not None:
        where = f"{path}.rollingUpdate.maxUnavailable"
        yield from validate_amount(where, rolling.maxUnavailable, at_most_all=True)
        yield from validate_amount(f"{path}.rollingUpdate.maxSurge", rolling.maxSurge)
        if is_zero(rolling.maxUnavailable) and is_zero(rolling.maxSurge):
            text = "may not be 0 when `maxSurge` is 0"
            yield errors.invalid(where, rolling.maxUnavailable, text)


class DeploymentStrategy(WorkloadStrategy):
    """A rollout of ReplicaSets."""

    rules = validate_spec

    def default(self, obj: Deployment) -> None:
        """One replica, rolled out a quarter at a time."""
        spec = obj.spec
        if spec.replicas is None:
            spec.replicas = 1
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = REVISION_HISTORY_LIMIT
        if spec.progressDeadlineSeconds is None:
            spec.progressDeadlineSeconds = PROGRESS_DEADLINE_SECONDS
        spec.strategy.type = spec.strategy.type or "RollingUpdate"
        if spec.strategy.type == "RollingUpdate":
            rolling = spec.strategy.rollingUpdate or RollingUpdateDeployment()
            rolling.maxSurge = SURGE if rolling.maxSurge is None else rolling.maxSurge
            if rolling.maxUnavailable is None:
                rolling.maxUnavailable = SURGE
            spec.strategy.rollingUpdate = rolling
        default_template(spec.template)

    def spec_changed(self, new: Deployment, old: Deployment) -> bool:
        """Annotations count too: the ReplicaSets of a deployment carry them."""
        return new.spec != old.spec or new.metadata.annotations != old.metadata.annotations


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a Deployment."""
    status = obj.get("status", {})
    return {
        **cells.workload(obj),
        "Ready": cells.ready(obj),
        "Up-to-date": status.get("updatedReplicas", 0),
        "Available": status.get("availableReplicas", 0),
    }


RULES = {"deployments.apps": Rules(DeploymentStrategy, cells_of)}
