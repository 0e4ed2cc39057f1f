"""Rules of Pod. Source: k8s.io/kubernetes pkg/registry/core/pod/strategy.go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from common.api import errors
from common.api.errors import FieldError
from common.api.fields import Field, fields
from common.api.types.core_v1 import HostIP, Pod, PodCondition, PodIP, PodStatus
from common.api.wellknown import MIRROR_POD
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.pod import poddefaults, podwarnings
from master.apiserver.resources.core.pod.podcells import cells_of
from master.apiserver.resources.core.pod.poddefaults import DEFAULT_GRACE_PERIOD_SECONDS
from master.apiserver.resources.core.pod.podspec import validate_pod_spec
from master.apiserver.resources.core.pod.podupdate import validate_pod_update
from master.apiserver.resources.core.pod.podvolumes import seccomp_annotations
from master.apiserver.resources.lib import addresses
from master.apiserver.resources.lib.checks import INT32_MAX, immutable

FIELDS = fields(
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
) | {"spec.hostNetwork": Field("false"), "status.podIPs": Field(paths=("status.podIP",))}

FINISHED = ("Succeeded", "Failed")
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_INT32 = re.compile("0|-?[1-9][0-9]{0,9}")


class PodStrategy(Strategy):
    """A pod is pending until a node runs it, and stays for its grace period once deleted."""

    delete_answers_object = True
    generation: ClassVar[bool] = True

    def default(self, obj: Pod) -> None:
        """Fill in the spec."""
        poddefaults.default_pod(obj)

    def prepare_create(self, obj: Pod) -> None:
        """Pending; the QoS class follows from the spec, once and for all.

        Raises StatusError 422 for ephemeral containers, which only come later.
        """
        if obj.spec.ephemeralContainers:
            finding = errors.forbidden("spec.ephemeralContainers", "cannot be set on create")
            raise errors.invalid_object("", "Pod", obj.metadata.name, [finding])
        super().prepare_create(obj)
        obj.status = PodStatus(phase="Pending", qosClass=poddefaults.qos_class(obj.spec))
        if obj.spec.schedulingGates:
            obj.status.conditions = (_gated(),)

    def prepare_update(self, new: Pod, old: Pod) -> None:
        """Status and ephemeral containers have paths of their own."""
        new.spec.ephemeralContainers = old.spec.ephemeralContainers
        super().prepare_update(new, old)

    def prepare_status_update(self, new: Pod, old: Pod) -> None:
        """A kubelet may report a status without the QoS class; it stays."""
        super().prepare_status_update(new, old)
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        new.status.qosClass = new.status.qosClass or old.status.qosClass

    def grace_period_seconds(self, obj: Pod, asked: int | None) -> int:
        """Nobody has to stop a pod that no node runs, or that has finished."""
        if not obj.spec.nodeName or obj.status.phase in FINISHED:
            return 0
        grace = asked if asked is not None else obj.spec.terminationGracePeriodSeconds
        if grace is None:
            return DEFAULT_GRACE_PERIOD_SECONDS
        # Below zero means as soon as possible, which still lets the kubelet see the deletion.
        return grace if grace >= 0 else 1

    def validate(self, obj: Pod) -> list[FieldError]:
        """The rules of specs, and of what only pods have."""
        findings = _annotation_problems(obj)
        findings += seccomp_annotations("metadata.annotations", obj.metadata.annotations)
        findings += errors.first(validate_pod_spec("spec", obj.spec, is_pod=True))
        if obj.spec.nodeName and obj.spec.schedulingGates:
            text = "cannot be set until all schedulingGates have been cleared"
            findings.append(errors.forbidden("spec.nodeName", text))
        return findings

    def warnings(self, obj: Pod, old: Pod | None = None) -> list[str]:
        """Those for new pods; changes are mostly made by programs."""
        if old is not None:
            return []
        label = podwarnings.recommended_label(obj.metadata.name, "the Pod's hostname")
        return label + podwarnings.of_pod(obj.spec, obj.metadata)

    def validate_update(self, new: Pod, old: Pod) -> list[FieldError]:
        """Little of a pod can change while it runs."""
        findings = []
        if new.metadata.annotations.get(MIRROR_POD) != old.metadata.annotations.get(MIRROR_POD):
            text = "may not remove or update mirror pod annotation"
            findings.append(errors.forbidden(f"metadata.annotations[{MIRROR_POD}]", text))
        return findings + list(validate_pod_update(new, old))

    def validate_status_update(self, new: Pod, old: Pod) -> list[FieldError]:
        """The QoS class follows from the spec; addresses are addresses."""
        findings = list(immutable("status.qosClass", new.status.qosClass, old.status.qosClass))
        findings += _address_problems("podIP", new.status.podIP, new.status.podIPs)
        return findings + _address_problems("hostIP", new.status.hostIP, new.status.hostIPs)


def _gated() -> PodCondition:
    """Why nothing looks for a node: `kubectl get` shows the reason as the pod's status."""
    return PodCondition(
        type="PodScheduled",
        status="False",
        reason="SchedulingGated",
        message="Scheduling is blocked due to non-empty scheduling gates",
    )


def _address_problems(name: str, first: str, given: Sequence[PodIP | HostIP]) -> list[FieldError]:
    """Of status.podIP and podIPs, or of hostIP and hostIPs."""
    findings = list(addresses.ip(f"status.{name}", first)) if first else []
    for number, address in enumerate(given):
        findings += addresses.ip(f"status.{name}s[{number}]", address.ip)
    return findings


def _annotation_problems(obj: Pod) -> list[FieldError]:
    annotations, findings = obj.metadata.annotations, []
    if MIRROR_POD in annotations and not obj.spec.nodeName:
        text = "must set spec.nodeName if mirror pod annotation is set"
        findings.append(
            errors.invalid(f"metadata.annotations[{MIRROR_POD}]", annotations[MIRROR_POD], text)
        )
    cost = annotations.get(DELETION_COST, "0")
    if not _INT32.fullmatch(cost) or not -INT32_MAX - 1 <= int(cost) <= INT32_MAX:
        text = "must be a 32bit integer"
        findings.append(errors.invalid(f"metadata.annotations[{DELETION_COST}]", cost, text))
    return findings


RULES = {"pods": Rules(PodStrategy, cells_of, FIELDS)}
