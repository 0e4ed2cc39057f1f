"""Rules of DaemonSet. Source: k8s.io/kubernetes pkg/registry/apps/daemonset."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from common.api import errors
from common.api.types.apps_v1 import DaemonSet, DaemonSetSpec, RollingUpdateDaemonSet
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
from master.apiserver.resources.lib.checks import Findings


def validate_spec(spec: DaemonSetSpec) -> Findings:
    """A selector, a template of lasting pods, and how to replace them."""
    yield from validate_replicas(spec)
    yield from validate_selector(spec.selector, spec.template, "daemonset")
    yield from validate_lasting_template(spec.template, "DaemonSet")
    strategy, path = spec.updateStrategy, "spec.updateStrategy"
    if strategy.type not in ("RollingUpdate", "OnDelete"):
        yield errors.not_supported(path, strategy.type, ("RollingUpdate", "OnDelete"))
    elif strategy.type == "RollingUpdate" and strategy.rollingUpdate is not None:
        yield from _rolling(f"{path}.rollingUpdate", strategy.rollingUpdate)


def _rolling(path: str, rolling: RollingUpdateDaemonSet) -> Findings:
    """A node runs one pod less or one more while it is updated, not both."""
    yield from validate_amount(f"{path}.maxUnavailable", rolling.maxUnavailable, at_most_all=True)
    yield from validate_amount(f"{path}.maxSurge", rolling.maxSurge, at_most_all=True)
    if is_zero(rolling.maxUnavailable) and is_zero(rolling.maxSurge):
        yield errors.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif not is_zero(rolling.maxUnavailable) and not is_zero(rolling.maxSurge):
        text = "may not be set when maxUnavailable is non-zero"
        yield errors.invalid(f"{path}.maxSurge", rolling.maxSurge, text)


class DaemonSetStrategy(WorkloadStrategy):
    """One pod on every node that matches."""

    rules = validate_spec
    names_pods: ClassVar[bool] = False

    def default(self, obj: DaemonSet) -> None:
        """Updated one node after the other."""
        spec = obj.spec
        spec.updateStrategy.type = spec.updateStrategy.type or "RollingUpdate"
        if spec.updateStrategy.type == "RollingUpdate":
            rolling = spec.updateStrategy.rollingUpdate or RollingUpdateDaemonSet()
            rolling.maxUnavailable = 1 if rolling.maxUnavailable is None else rolling.maxUnavailable
            rolling.maxSurge = 0 if rolling.maxSurge is None else rolling.maxSurge
            spec.updateStrategy.rollingUpdate = rolling
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = REVISION_HISTORY_LIMIT
        default_template(spec.template)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a DaemonSet."""
    template = obj.get("spec", {}).get("template", {})
    wanted = template.get("spec", {}).get("nodeSelector", {})
    return {**cells.workload(obj), "Node Selector": cells.pairs(wanted)}


RULES = {"daemonsets.apps": Rules(DaemonSetStrategy, cells_of)}
