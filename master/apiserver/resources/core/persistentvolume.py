"""Rules of PersistentVolume and PersistentVolumeClaim, which nothing acts on yet.

Source: k8s.io/kubernetes pkg/apis/core/validation and pkg/registry/core/persistentvolume(claim).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from common.api import errors, names, quantity, times
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.core_v1 import (
    CSIPersistentVolumeSource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSource,
    PersistentVolumeSpec,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from common.api.wellknown import PV_PROTECTION, PVC_PROTECTION
from common.runtime.clock import Clock
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Settings, Strategy
from master.apiserver.resources.core.pod import volumewarnings
from master.apiserver.resources.core.pod.podscheduling import validate_node_selector
from master.apiserver.resources.core.pod.podvolumes import no_backsteps, validate_source
from master.apiserver.resources.lib.checks import Findings, immutable, label_selector, named, one_of

_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
SNAPSHOTS = "snapshot.storage.k8s.io"
_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_DEPRECATED = {
    BETA_CLASS: 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": (
        'deprecated since v1.31; use "mountOptions" attribute instead'
    ),
}
_SAME = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims"
)


def _access_modes(path: str, modes: Sequence[str], detail: str = "") -> Findings:
    if not modes:
        yield errors.required(path, detail)
    for mode in modes:
        if mode not in _ACCESS:
            yield errors.not_supported(path, mode, _ACCESS)
    known = {mode for mode in modes if mode in _ACCESS}
    if "ReadWriteOncePod" in known and len(known) > 1:
        text = "may not use ReadWriteOncePod with other access modes"
        yield errors.forbidden(path, text)


def _volume_mode(path: str, mode: str | None) -> Findings:
    if mode is not None and mode not in _MODES:
        yield errors.not_supported(path, mode, _MODES)


class PersistentVolumeClaimStrategy(Strategy):
    """A claim waits for a volume, and stays while a pod uses it."""

    delete_answers_object = True

    def default(self, obj: PersistentVolumeClaim) -> None:
        """Files rather than a block device."""
        default_claim_spec(obj.spec)

    def prepare_create(self, obj: PersistentVolumeClaim) -> None:
        """Pending and protected; a source of data that is none is left out."""
        super().prepare_create(obj)
        obj.status.phase = "Pending"
        protect(obj, PVC_PROTECTION)
        source = obj.spec.dataSource
        if obj.spec.dataSourceRef is None and source is not None and not _is_source(source):
            obj.spec.dataSource = None
        _name_source_twice(obj.spec)

    def prepare_update(self, new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> None:
        """A writer may leave out one of the two fields for the source of data."""
        super().prepare_update(new, old)
        _name_source_twice(new.spec)

    def validate(self, obj: PersistentVolumeClaim) -> list[FieldError]:
        """The rules of the spec."""
        return errors.first(validate_claim_spec("spec", obj.spec))

    def validate_update(
        self, new: PersistentVolumeClaim, old: PersistentVolumeClaim
    ) -> list[FieldError]:
        """A claim is bound once and may grow; nothing else of it changes."""
        findings = []
        if _unchangeable(new, old):
            findings.append(errors.forbidden("spec", _SAME))
        before, after = (quantity.parse(o.spec.resources.requests["storage"]) for o in (old, new))
        capacity = quantity.parse(old.status.capacity.get("storage", "0"))
        if after < before and after <= capacity:
            text = "field can not be less than status.capacity"
            findings.append(errors.forbidden("spec.resources.requests.storage", text))
        findings += immutable("volumeMode", new.spec.volumeMode, old.spec.volumeMode)
        return findings

    def validate_status_update(
        self, new: PersistentVolumeClaim, old: PersistentVolumeClaim
    ) -> list[FieldError]:
        """A capacity of at least zero."""
        return [
            errors.invalid(f"status.capacity[{name}]", amount, "must be a valid resource quantity")
            for name, amount in new.status.capacity.items()
            if quantity.parse(amount) < 0
        ]

    def warnings(
        self, obj: PersistentVolumeClaim, old: PersistentVolumeClaim | None = None
    ) -> list[str]:
        """That nothing binds it; an old way to name a class; parts of bytes."""
        texts = super().warnings(obj, old)
        if BETA_CLASS in obj.metadata.annotations:
            texts.append(f"metadata.annotations[{BETA_CLASS}]: {_DEPRECATED[BETA_CLASS]}")
        texts += volumewarnings.claim("spec", obj.spec)
        return texts


def protect(obj: PersistentVolume | PersistentVolumeClaim, finalizer: str) -> None:
    """Hold a new object until it is not in use."""
    if finalizer not in obj.metadata.finalizers:
        obj.metadata.finalizers = (*obj.metadata.finalizers, finalizer)


def _is_source(source: TypedLocalObjectReference) -> bool:
    known = {("PersistentVolumeClaim", ""), ("VolumeSnapshot", SNAPSHOTS)}
    return (source.kind, source.apiGroup or "") in known


def default_claim_spec(spec: PersistentVolumeClaimSpec) -> None:
    """Defaults of a claim and of its templates."""
    spec.volumeMode = "Filesystem" if spec.volumeMode is None else spec.volumeMode


def _name_source_twice(spec: PersistentVolumeClaimSpec) -> None:
    """The fields dataSource and dataSourceRef say the same (KEP-1495)."""
    source, ref = spec.dataSource, spec.dataSourceRef
    if source is not None and ref is None:
        spec.dataSourceRef = TypedObjectReference(
            apiGroup=source.apiGroup, kind=source.kind, name=source.name
        )
    elif ref is not None and source is None and not ref.namespace:
        spec.dataSource = TypedLocalObjectReference(
            apiGroup=ref.apiGroup, kind=ref.kind, name=ref.name
        )


def validate_claim_spec(path: str, spec: PersistentVolumeClaimSpec) -> Findings:
    """How the volume is used, how large it is, and of which class."""
    text = "at least 1 access mode is required"
    yield from _access_modes(f"{path}.accessModes", spec.accessModes, text)
    yield from label_selector(f"{path}.selector", spec.selector)
    size, where = spec.resources.requests.get("storage"), f"{path}.resources[storage]"
    if size is None:
        yield errors.required(where)
    elif quantity.parse(size) <= 0:
        yield errors.invalid(where, size, "must be greater than zero")
    if spec.storageClassName:
        where = f"{path}.storageClassName"
        yield from named(where, spec.storageClassName, names.dns_subdomain)
    yield from _volume_mode(f"{path}.volumeMode", spec.volumeMode)
    for name in ("dataSource", "dataSourceRef"):
        source = getattr(spec, name)
        if source is not None:
            yield from _data_source(f"{path}.{name}", source)


def _data_source(path: str, source: TypedLocalObjectReference | TypedObjectReference) -> Findings:
    for name in ("name", "kind"):
        if not getattr(source, name):
            yield errors.required(f"{path}.{name}")
    if source.apiGroup:
        yield from named(f"{path}.apiGroup", source.apiGroup, names.dns_subdomain)
    elif source.kind != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield errors.invalid(path, source.kind, text)


def _unchangeable(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> bool:
    """Whether a change is more than to bind a claim, or to enlarge one that is bound."""
    for name in new.spec.__struct_fields__:
        before, after = getattr(old.spec, name), getattr(new.spec, name)
        if before == after:
            continue
        if name == "volumeName" and not before:
            continue
        if name == "storageClassName" and before is None:
            continue
        bound = old.status.phase == "Bound"
        if bound and name == "volumeAttributesClassName":
            continue
        if bound and name == "resources" and before.limits == after.limits:
            continue
        return True
    return False


class PersistentVolumeStrategy(Strategy):
    """A piece of storage; it stays while a claim is bound to it."""

    delete_answers_object = True

    def __init__(self, resource: Resource, *, clock: Clock) -> None:
        super().__init__(resource)
        self._clock = clock

    @classmethod
    def of(cls, resource: Resource, settings: Settings) -> Self:
        """With what its rules depend on."""
        return cls(resource, clock=settings.clock)

    def default(self, obj: PersistentVolume) -> None:
        """Kept when its claim goes; files rather than a block device."""
        spec = obj.spec
        spec.persistentVolumeReclaimPolicy = spec.persistentVolumeReclaimPolicy or "Retain"
        spec.volumeMode = "Filesystem" if spec.volumeMode is None else spec.volumeMode
        if spec.hostPath is not None and spec.hostPath.type is None:
            spec.hostPath.type = ""

    def prepare_create(self, obj: PersistentVolume) -> None:
        """Pending and protected."""
        super().prepare_create(obj)
        obj.status.phase = "Pending"
        protect(obj, PV_PROTECTION)
        obj.status.lastPhaseTransitionTime = times.to_time(self._clock.now())

    def prepare_status_update(self, new: PersistentVolume, old: PersistentVolume) -> None:
        """The time of a change of phase, unless its writer says it."""
        super().prepare_status_update(new, old)
        said, before = new.status.lastPhaseTransitionTime, old.status.lastPhaseTransitionTime
        if new.status.phase == old.status.phase:
            new.status.lastPhaseTransitionTime = said or before
        elif said is None or said == before:
            new.status.lastPhaseTransitionTime = times.to_time(self._clock.now())

    def validate(self, obj: PersistentVolume) -> list[FieldError]:
        """The rules of the spec."""
        return errors.first(_volume_spec(obj.spec))

    def warnings(self, obj: PersistentVolume, old: PersistentVolume | None = None) -> list[str]:
        """That nothing uses it; old annotations; what Kubernetes no longer has."""
        texts = super().warnings(obj, old)
        for key, text in _DEPRECATED.items():
            if key in obj.metadata.annotations:
                texts.append(f"metadata.annotations[{key}]: {text}")
        if obj.spec.persistentVolumeReclaimPolicy == "Recycle":
            texts.append(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
                "Instead, the recommended approach is to use dynamic provisioning."
            )
        return [*texts, *volumewarnings.gone("spec", obj.spec)]

    def validate_update(self, new: PersistentVolume, old: PersistentVolume) -> list[FieldError]:
        """The storage itself stays what it is."""
        findings = []
        names = PersistentVolumeSource.__struct_fields__
        if any(getattr(new.spec, name) != getattr(old.spec, name) for name in names):
            text = "spec.persistentvolumesource is immutable after creation"
            findings.append(errors.forbidden("spec.persistentvolumesource", text))
        findings += immutable("volumeMode", new.spec.volumeMode, old.spec.volumeMode)
        if old.spec.nodeAffinity is not None:
            findings += immutable("nodeAffinity", new.spec.nodeAffinity, old.spec.nodeAffinity)
        return findings


def _volume_spec(spec: PersistentVolumeSpec) -> Findings:
    yield from _access_modes("spec.accessModes", spec.accessModes)
    yield from _capacity("spec.capacity", spec)
    path, policy = "spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy
    yield from one_of(path, policy, _RECLAIM)
    if spec.nodeAffinity is not None:
        where = "spec.nodeAffinity.required"
        if spec.nodeAffinity.required is None:
            yield errors.required(where, "must specify required node constraints")
        else:
            yield from validate_node_selector(where, spec.nodeAffinity.required)
    yield from _sources(spec)
    host = spec.hostPath
    if host is not None and policy == "Recycle" and posixpath.normpath(host.path) == "/":
        yield errors.forbidden(path, "may not be 'recycle' for a hostPath mount of '/'")
    if spec.storageClassName:
        yield from named("spec.storageClassName", spec.storageClassName, names.dns_subdomain)
    yield from _volume_mode("spec.volumeMode", spec.volumeMode)


def _capacity(path: str, spec: PersistentVolumeSpec) -> Findings:
    if not spec.capacity:
        yield errors.required(path)
    if set(spec.capacity) != {"storage"}:
        yield errors.not_supported(path, spec.capacity or None, ("storage",))
    for name, amount in spec.capacity.items():
        where = f"{path}[{name}]"
        if quantity.parse(amount) < 0:
            value = quantity.whole(amount)
            yield errors.invalid(where, value, "must be a valid resource quantity")
        if quantity.parse(amount) <= 0:
            yield errors.invalid(where, amount, "must be greater than zero")


def _sources(spec: PersistentVolumeSpec) -> Findings:
    """Exactly one kind of storage; those that exist on any machine are looked at more closely."""
    used = [
        name for name in PersistentVolumeSource.__struct_fields__ if getattr(spec, name) is not None
    ]
    if not used:
        yield errors.required("spec", "must specify a volume type")
        return
    first, *others = sorted(used, key=_by_upstream)
    for name in others:
        yield errors.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    path, source = f"spec.{first}", getattr(spec, first)
    yield from validate_source(path, first, source)
    if first == "csi":
        yield from _csi(path, source)
    elif first == "local":
        if not source.path:
            yield errors.required(f"{path}.path")
        else:
            yield from no_backsteps(f"{path}.path", source.path)
        if spec.nodeAffinity is None:
            yield errors.required("spec.nodeAffinity", "Local volume requires node affinity")


def _by_upstream(name: str) -> int:
    """The order in which Kubernetes asks for the kinds: hostPath first."""
    return -1 if name == "hostPath" else PersistentVolumeSource.__struct_fields__.index(name)


def _csi(path: str, source: CSIPersistentVolumeSource) -> Findings:
    if not source.driver:
        yield errors.required(f"{path}.driver")
    elif len(source.driver) > 63:
        yield errors.too_long(f"{path}.driver", 63)
    else:
        for problem in names.dns_subdomain(source.driver.lower()):
            yield errors.invalid(f"{path}.driver", source.driver, problem)
    if not source.volumeHandle:
        yield errors.required(f"{path}.volumeHandle")


def volume_cells(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PersistentVolume."""
    spec, claim = obj.get("spec", {}), obj.get("spec", {}).get("claimRef")
    made = {
        "Access Modes": _modes(spec.get("accessModes", [])),
        "Claim": f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        **_unset(spec),
    }
    return made | _terminating(obj)


def claim_cells(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of a PersistentVolumeClaim; a claim without a volume has no modes yet."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    bound = bool(spec.get("volumeName"))
    made = {
        "Access Modes": _modes(status.get("accessModes", [])) if bound else "",
        "Capacity": status.get("capacity", {}).get("storage", "0") if bound else "",
        **_unset(spec),
    }
    return made | _terminating(obj)


def _modes(modes: list[str]) -> str:
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in modes)


def _unset(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "VolumeAttributesClass": spec.get("volumeAttributesClassName", "<unset>"),
        "VolumeMode": spec.get("volumeMode", "<unset>"),
    }


def _terminating(obj: dict[str, Any]) -> dict[str, Any]:
    return {"Status": "Terminating"} if obj["metadata"].get("deletionTimestamp") else {}


RULES = {
    "persistentvolumeclaims": Rules(PersistentVolumeClaimStrategy, claim_cells),
    "persistentvolumes": Rules(PersistentVolumeStrategy, volume_cells),
}
