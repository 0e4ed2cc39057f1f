"""Which ConfigMaps, Secrets and RuntimeClass a pod uses: what its node is told of, and may read."""

from __future__ import annotations

from typing import NamedTuple

from common.api.types.core_v1 import Container, EphemeralContainer, Pod, PodSpec, Volume

CONFIG_MAPS = "configmaps"
SECRETS = "secrets"
RUNTIME_CLASSES = "runtimeclasses.node.k8s.io"


class Reference(NamedTuple):
    """An object that a pod uses: resource with its group, namespace (or none), name."""

    resource: str
    namespace: str
    name: str


def references(pod: Pod) -> set[Reference]:
    """Every ConfigMap and Secret that a pod names, and its RuntimeClass."""
    spec, namespace = pod.spec, pod.metadata.namespace
    names: set[tuple[str, str]] = {(SECRETS, s.name) for s in spec.imagePullSecrets}
    for volume in spec.volumes:
        names |= _of_volume(volume)
    for container in all_containers(spec):
        names |= _of_container(container)
    used = {Reference(resource, namespace, name) for resource, name in names if name}
    if spec.runtimeClassName:
        used.add(Reference(RUNTIME_CLASSES, "", spec.runtimeClassName))
    return used


def all_containers(spec: PodSpec) -> list[Container | EphemeralContainer]:
    """Init, app and ephemeral containers."""
    return [*spec.initContainers, *spec.containers, *spec.ephemeralContainers]


def _of_volume(volume: Volume) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = set()
    if volume.configMap:
        names.add((CONFIG_MAPS, volume.configMap.name))
    if volume.secret:
        names.add((SECRETS, volume.secret.secretName))
    for source in volume.projected.sources if volume.projected else ():
        if source.configMap:
            names.add((CONFIG_MAPS, source.configMap.name))
        if source.secret:
            names.add((SECRETS, source.secret.name))
    return names


def _of_container(container: Container | EphemeralContainer) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = set()
    for source in container.envFrom:
        if source.configMapRef:
            names.add((CONFIG_MAPS, source.configMapRef.name))
        if source.secretRef:
            names.add((SECRETS, source.secretRef.name))
    for variable in container.env:
        origin = variable.valueFrom
        if origin and origin.configMapKeyRef:
            names.add((CONFIG_MAPS, origin.configMapKeyRef.name))
        if origin and origin.secretKeyRef:
            names.add((SECRETS, origin.secretKeyRef.name))
    return names
