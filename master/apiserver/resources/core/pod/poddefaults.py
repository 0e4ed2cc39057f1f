"""Defaults of pods and pod templates. Source: k8s.io/kubernetes pkg/apis/core/v1/defaults.go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from common.api import quantity
from common.api.types import Quantity
from common.api.types.core_v1 import (
    Container,
    EmptyDirVolumeSource,
    EphemeralContainer,
    HTTPGetAction,
    Pod,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ProjectedVolumeSource,
    ResourceRequirements,
    Volume,
)

DEFAULT_GRACE_PERIOD_SECONDS = 30
FILE_MODE = 0o644
TOKEN_EXPIRATION_SECONDS = 3600
_OVERCOMMITTABLE = ("cpu", "memory", "ephemeral-storage")

AnyContainer = Container | EphemeralContainer


def default_pod(pod: Pod) -> None:
    """Defaults of a pod; more than a template's: requests that follow from limits, host ports."""
    spec = pod.spec
    default_pod_spec(spec)
    if spec.enableServiceLinks is None:
        spec.enableServiceLinks = True
    for container in (*spec.initContainers, *spec.containers):
        for name, limit in container.resources.limits.items():
            container.resources.requests.setdefault(name, limit)
        if spec.hostNetwork:
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort
    if spec.resources is not None:
        _pod_level_requests(spec, spec.resources)


def _pod_level_requests(spec: PodSpec, resources: ResourceRequirements) -> None:
    """What a pod as a whole requests: what its containers do, else its own limit."""
    for name, limit in resources.limits.items():
        asked = [
            container.resources.requests[name]
            for container in spec.containers
            if name in container.resources.requests
        ]
        if asked and name in _OVERCOMMITTABLE and name not in resources.requests:
            total = sum((quantity.parse(text) for text in asked), Decimal(0))
            resources.requests[name] = quantity.canonical(f"{total:f}")
        resources.requests.setdefault(name, limit)


def default_template(template: PodTemplateSpec) -> None:
    """Defaults of the pod template of a workload."""
    default_pod_spec(template.spec)


def default_pod_spec(spec: PodSpec) -> None:
    """Defaults that pods and pod templates share."""
    spec.dnsPolicy = spec.dnsPolicy or "ClusterFirst"
    spec.restartPolicy = spec.restartPolicy or "Always"
    spec.schedulerName = spec.schedulerName or "default-scheduler"
    if spec.securityContext is None:
        spec.securityContext = PodSecurityContext()
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = DEFAULT_GRACE_PERIOD_SECONDS
    elif spec.terminationGracePeriodSeconds < 0:
        spec.terminationGracePeriodSeconds = 1
    # The older name of the same field is kept in step, for clients that read only one of them.
    spec.serviceAccountName = spec.serviceAccountName or spec.serviceAccount
    spec.serviceAccount = spec.serviceAccountName
    spec.overhead = _rounded(spec.overhead)
    if spec.resources is not None:
        _default_resources(spec.resources)
    for volume in spec.volumes:
        _default_volume(volume)
    for container in all_containers(spec):
        _default_container(container)


def all_containers(spec: PodSpec) -> Iterator[AnyContainer]:
    """Init, main and ephemeral containers, in this order."""
    yield from spec.initContainers
    yield from spec.containers
    yield from spec.ephemeralContainers


def _default_container(container: AnyContainer) -> None:
    if not container.imagePullPolicy:
        container.imagePullPolicy = pull_policy(container.image)
    container.terminationMessagePath = container.terminationMessagePath or "/dev/termination-log"
    container.terminationMessagePolicy = container.terminationMessagePolicy or "File"
    for port in container.ports:
        port.protocol = port.protocol or "TCP"
    for variable in container.env:
        if variable.valueFrom is not None:
            _default_field_refs((variable.valueFrom,))
    _default_resources(container.resources)
    for probe in (container.livenessProbe, container.readinessProbe, container.startupProbe):
        if probe is not None:
            _default_probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.postStart, container.lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                _default_http_get(handler.httpGet)


def pull_policy(image: str) -> str:
    """Always for the tag `latest` or none at all, IfNotPresent for what names a version."""
    reference, _, digest = image.partition("@")
    _, colon, tag = reference.rpartition("/")[2].partition(":")
    if digest:
        return "Always" if tag == "latest" else "IfNotPresent"
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _default_probe(probe: Probe) -> None:
    probe.timeoutSeconds = probe.timeoutSeconds or 1
    probe.periodSeconds = probe.periodSeconds or 10
    probe.successThreshold = probe.successThreshold or 1
    probe.failureThreshold = probe.failureThreshold or 3
    if probe.httpGet is not None:
        _default_http_get(probe.httpGet)
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def _default_http_get(action: HTTPGetAction) -> None:
    action.path = action.path or "/"
    action.scheme = action.scheme or "HTTP"


def _default_resources(resources: ResourceRequirements) -> None:
    resources.limits = _rounded(resources.limits)
    resources.requests = _rounded(resources.requests)


def _rounded(amounts: dict[str, Quantity]) -> dict[str, Quantity]:
    """Amounts as the scheduler counts them: in thousandths, rounded up."""
    return {
        name: quantity.from_milli(quantity.milli(text)) if quantity.parse(text) * 1000 % 1 else text
        for name, text in amounts.items()
    }


def _default_volume(volume: Volume) -> None:
    """A volume without a source is an empty directory; files are readable by all."""
    sources = [getattr(volume, name) for name in volume.__struct_fields__ if name != "name"]
    if not any(source is not None for source in sources):
        volume.emptyDir = EmptyDirVolumeSource()
    for source in (volume.secret, volume.configMap, volume.downwardAPI, volume.projected):
        if source is not None and source.defaultMode is None:
            source.defaultMode = FILE_MODE
    if volume.downwardAPI is not None:
        _default_field_refs(volume.downwardAPI.items)
    if volume.projected is not None:
        _default_projections(volume.projected)
    if volume.hostPath is not None and volume.hostPath.type is None:
        volume.hostPath.type = ""
    claim = volume.ephemeral and volume.ephemeral.volumeClaimTemplate
    if claim and claim.spec.volumeMode is None:
        claim.spec.volumeMode = "Filesystem"


def _default_projections(volume: ProjectedVolumeSource) -> None:
    for source in volume.sources:
        token = source.serviceAccountToken
        if token is not None and token.expirationSeconds is None:
            token.expirationSeconds = TOKEN_EXPIRATION_SECONDS
        if source.downwardAPI is not None:
            _default_field_refs(source.downwardAPI.items)


def _default_field_refs(holders: Iterable[Any]) -> None:
    """References to fields of the pod are to its v1 form."""
    for holder in holders:
        if holder.fieldRef is not None:
            holder.fieldRef.apiVersion = holder.fieldRef.apiVersion or "v1"


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort, by the CPU and memory of containers.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
    """
    holders = [c.resources for c in (*spec.initContainers, *spec.containers)]
    pod_level = spec.resources
    if pod_level is not None and (pod_level.requests or pod_level.limits):
        holders = [pod_level]
    requests = [_compute(holder.requests) for holder in holders]
    limits = [_compute(holder.limits) for holder in holders]
    if not any(requests) and not any(limits):
        return "BestEffort"
    if all(limit.keys() == {"cpu", "memory"} for limit in limits) and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _compute(amounts: dict[str, Quantity]) -> dict[str, Decimal]:
    """The positive amounts of CPU and memory."""
    given = {name: quantity.parse(amounts[name]) for name in ("cpu", "memory") if name in amounts}
    return {name: amount for name, amount in given.items() if amount > 0}
