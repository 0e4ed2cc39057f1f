"""Rules of StatefulSet. Source: k8s.io/kubernetes pkg/registry/apps/statefulset."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
)
from common.api.types.core_v1 import (
    PersistentVolumeClaimVolumeSource,
    PodTemplateSpec,
    Volume,
)
from master.apiserver.registry.catalogue import Rules
from master.apiserver.resources.core.persistentvolume import default_claim_spec
from master.apiserver.resources.core.pod import volumewarnings
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
from master.apiserver.resources.lib.checks import Findings, named, nonnegative, one_of

_UPDATABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def validate_spec(spec: StatefulSetSpec) -> Findings:
    """Replicas with numbers and claims, a template of lasting pods, how to replace them."""
    policy = spec.podManagementPolicy
    if policy not in ("OrderedReady", "Parallel"):
        text = "must be 'OrderedReady' or 'Parallel'"
        yield errors.invalid("spec.podManagementPolicy", policy, text)
    yield from _update_strategy("spec.updateStrategy", spec)
    retention = spec.persistentVolumeClaimRetentionPolicy
    for name in ("whenDeleted", "whenScaled"):
        path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
        yield from one_of(path, getattr(retention, name, None), ("Retain", "Delete"))
    yield from validate_replicas(spec)
    if spec.ordinals is not None:
        yield from nonnegative("spec.ordinals.start", spec.ordinals.start)
    if spec.serviceName:
        yield from named("spec.serviceName", spec.serviceName, names.dns_label)
    yield from validate_selector(spec.selector, spec.template, "statefulset")
    yield from validate_lasting_template(_with_claims(spec), "StatefulSet")


def _update_strategy(path: str, spec: StatefulSetSpec) -> Findings:
    kind, rolling = spec.updateStrategy.type, spec.updateStrategy.rollingUpdate
    if kind not in ("RollingUpdate", "OnDelete"):
        text = "must be 'RollingUpdate' or 'OnDelete'"
        yield errors.invalid(path, spec.updateStrategy, text)
    elif kind == "OnDelete" and rolling is not None:
        text = "only allowed for updateStrategy 'RollingUpdate'"
        yield errors.invalid(f"{path}.rollingUpdate", rolling, text)
    elif rolling is not None:
        yield from nonnegative(f"{path}.rollingUpdate.partition", rolling.partition)
        amount, where = rolling.maxUnavailable, f"{path}.rollingUpdate.maxUnavailable"
        yield from validate_amount(where, amount, at_most_all=True)
        if amount is not None and is_zero(amount):
            yield errors.invalid(where, amount, "cannot be 0")


def _with_claims(spec: StatefulSetSpec) -> PodTemplateSpec:
    """The template as its pods will have it: with a volume for each claim."""
    claimed = {claim.metadata.name for claim in spec.volumeClaimTemplates}
    volumes = [volume for volume in spec.template.spec.volumes if volume.name not in claimed]
    for name in sorted(claimed):
        source = PersistentVolumeClaimVolumeSource(claimName=name)
        volumes.append(Volume(name=name, persistentVolumeClaim=source))
    pod = msgspec.structs.replace(spec.template.spec, volumes=tuple(volumes))
    return msgspec.structs.replace(spec.template, spec=pod)


class StatefulSetStrategy(WorkloadStrategy):
    """Pods with names and claims of their own."""

    rules = validate_spec
    names_pods: ClassVar[bool] = False

    def default(self, obj: StatefulSet) -> None:
        """One replica; pods come and go in order; claims outlive them."""
        spec = obj.spec
        spec.podManagementPolicy = spec.podManagementPolicy or "OrderedReady"
        if not spec.updateStrategy.type:
            spec.updateStrategy.type = "RollingUpdate"
            if spec.updateStrategy.rollingUpdate is None:
                spec.updateStrategy.rollingUpdate = RollingUpdateStatefulSetStrategy()
        rolling = spec.updateStrategy.rollingUpdate
        if rolling is not None and rolling.partition is None:
            rolling.partition = 0
        retention = spec.persistentVolumeClaimRetentionPolicy
        if retention is None:
            retention = StatefulSetPersistentVolumeClaimRetentionPolicy()
            spec.persistentVolumeClaimRetentionPolicy = retention
        retention.whenDeleted = retention.whenDeleted or "Retain"
        retention.whenScaled = retention.whenScaled or "Retain"
        if spec.replicas is None:
            spec.replicas = 1
        if spec.revisionHistoryLimit is None:
            spec.revisionHistoryLimit = REVISION_HISTORY_LIMIT
        default_template(spec.template)
        for claim in spec.volumeClaimTemplates:
            claim.status.phase = claim.status.phase or "Pending"
            default_claim_spec(claim.spec)

    def warnings(self, obj: StatefulSet, old: StatefulSet | None = None) -> list[str]:
        """Sizes of claims, and a history without end."""
        texts = super().warnings(obj, old)
        for number, template in enumerate(obj.spec.volumeClaimTemplates):
            path = f"spec.volumeClaimTemplates[{number}]{'.Spec' if old is not None else ''}"
            texts += volumewarnings.claim(path, template.spec)
        limit = obj.spec.revisionHistoryLimit
        if limit is not None and limit < 0:
            texts.append(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a "
                "value >= 0 is recommended"
            )
        return texts

    def validate_update(self, new: StatefulSet, old: StatefulSet) -> list[FieldError]:
        """Names and claims of pods stay."""
        kept = {name: getattr(old.spec, name) for name in _UPDATABLE}
        if msgspec.structs.replace(new.spec, **kept) == old.spec:
            return []
        text = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
            " 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and"
            " 'minReadySeconds' are forbidden"
        )
        return [errors.forbidden("spec", text)]


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a StatefulSet."""
    return {**cells.workload(obj), "Ready": cells.ready(obj)}


RULES = {"statefulsets.apps": Rules(StatefulSetStrategy, cells_of)}
