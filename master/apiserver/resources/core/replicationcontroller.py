"""Rules of ReplicationController.

Source: k8s.io/kubernetes pkg/registry/core/replicationcontroller.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from common.api import errors, labels
from common.api.errors import FieldError
from common.api.fields import Field
from common.api.types.core_v1 import ReplicationController, ReplicationControllerSpec
from master.apiserver.registry.catalogue import Rules
from master.apiserver.resources.core.pod.poddefaults import default_template
from master.apiserver.resources.core.workload import (
    WorkloadStrategy,
    validate_lasting_template,
    validate_match,
    validate_replicas,
)
from master.apiserver.resources.lib import cells
from master.apiserver.resources.lib.checks import Findings, few

FIELDS = {"status.replicas": Field("0")}


def validate_spec(spec: ReplicationControllerSpec) -> Findings:
    """A selector of plain labels, and a template that has them."""
    yield from validate_replicas(spec)
    if not spec.selector:
        yield errors.required("spec.selector")
    yield from few("spec.selector", spec.selector, labels.REQUIREMENTS_MAX)
    if spec.template is None:
        yield errors.required("spec.template")
        return
    matches = spec.selector.items() <= spec.template.metadata.labels.items()
    yield from validate_match(matches, spec.template)
    yield from validate_lasting_template(spec.template, "ReplicationController")


class ReplicationControllerStrategy(WorkloadStrategy):
    """The labels of the template stand in for a selector and labels that are left out."""

    rules = validate_spec
    propagation_policy: ClassVar[str] = "Orphan"
    """As it was before there was a garbage collector; clients ask for what they want instead."""

    def default(self, obj: ReplicationController) -> None:
        """One replica; selector and labels as the template has them."""
        if obj.spec.replicas is None:
            obj.spec.replicas = 1
        if obj.spec.template is None:
            return
        default_template(obj.spec.template)
        labels = obj.spec.template.metadata.labels
        obj.spec.selector = obj.spec.selector or dict(labels)
        obj.metadata.labels = obj.metadata.labels or dict(labels)

    def validate_update(
        self, new: ReplicationController, old: ReplicationController
    ) -> list[FieldError]:
        """The selector may change: pods are let go and adopted."""
        return []


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a ReplicationController."""
    spec = obj.get("spec", {})
    return {
        "Desired": spec.get("replicas", 0),
        "Selector": cells.pairs(spec.get("selector", {})),
        **cells.containers(spec.get("template") or {}),
    }


RULES = {"replicationcontrollers": Rules(ReplicationControllerStrategy, cells_of, FIELDS)}
