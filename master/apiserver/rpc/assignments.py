"""What a node is told: its pods, with just the ConfigMaps and Secrets that they reference.

The Services that a pod's containers see as variables go with it, as they are then. They are read
when a container starts, as Kubernetes does; so a Service that changes is no reason to tell again.
"""

from __future__ import annotations

from typing import NamedTuple

from common.api.codec import json as codec
from common.api.types.core_v1 import (
    Container,
    EphemeralContainer,
    Pod,
    PodSpec,
    Service,
    ServiceSpec,
    Volume,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.informer import Item, Lister
from protos import node_v1_pb2

CONFIG_MAPS = "configmaps"
SECRETS = "secrets"
KUBERNETES = "kubernetes"


class Reference(NamedTuple):
    """An object that a pod uses: plural of its resource, namespace, name."""

    resource: str
    namespace: str
    name: str


def references(pod: Pod) -> set[Reference]:
    """Every ConfigMap and Secret that a pod names."""
    spec, namespace = pod.spec, pod.metadata.namespace
    found: set[tuple[str, str]] = {(SECRETS, s.name) for s in spec.imagePullSecrets}
    for volume in spec.volumes:
        found |= _of_volume(volume)
    for container in _containers(spec):
        found |= _of_container(container)
    return {Reference(resource, namespace, name) for resource, name in found if name}


def _containers(spec: PodSpec) -> list[Container | EphemeralContainer]:
    return [*spec.initContainers, *spec.containers, *spec.ephemeralContainers]


def _of_volume(volume: Volume) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    if volume.configMap:
        found.add((CONFIG_MAPS, volume.configMap.name))
    if volume.secret:
        found.add((SECRETS, volume.secret.secretName))
    for source in volume.projected.sources if volume.projected else ():
        if source.configMap:
            found.add((CONFIG_MAPS, source.configMap.name))
        if source.secret:
            found.add((SECRETS, source.secret.name))
    return found


def _of_container(container: Container | EphemeralContainer) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for source in container.envFrom:
        if source.configMapRef:
            found.add((CONFIG_MAPS, source.configMapRef.name))
        if source.secretRef:
            found.add((SECRETS, source.secretRef.name))
    for variable in container.env:
        origin = variable.valueFrom
        if origin and origin.configMapKeyRef:
            found.add((CONFIG_MAPS, origin.configMapKeyRef.name))
        if origin and origin.secretKeyRef:
            found.add((SECRETS, origin.secretKeyRef.name))
    return found


def services_of(pod: Pod, services: Lister) -> list[bytes]:
    """The Services that a pod's containers see: those of its namespace, and `kubernetes` always.

    A namespace's own Service of that name comes before the one of `default`. Only what variables
    are made of is sent, and nothing of a Service without an address: there may be thousands.
    """
    links = pod.spec.enableServiceLinks is not False
    found = {item.name: item for item in services.list(pod.metadata.namespace) if links}
    always = services.get("default", KUBERNETES)
    if always is not None:
        found.setdefault(KUBERNETES, always)
    whole = [codec.decode(item.data, Service) for _, item in sorted(found.items())]
    return [
        codec.encode(
            Service(
                metadata=ObjectMeta(name=one.metadata.name, namespace=one.metadata.namespace),
                spec=ServiceSpec(clusterIP=one.spec.clusterIP, ports=one.spec.ports),
            )
        )
        for one in whole
        if one.spec.clusterIP not in ("", "None")
    ]


def assignment(
    item: Item, config_maps: Lister, secrets: Lister, services: Lister
) -> tuple[node_v1_pb2.ToNode, set[Reference]]:
    """The message that carries a pod to its node, and what the pod references."""
    pod = codec.decode(item.data, Pod)
    wanted = references(pod)
    carried: dict[str, list[bytes]] = {CONFIG_MAPS: [], SECRETS: []}
    for resource, namespace, name in sorted(wanted):
        found = (config_maps if resource == CONFIG_MAPS else secrets).get(namespace, name)
        if found is not None:
            carried[resource].append(found.data)
    message = node_v1_pb2.PodAssignment(
        pod=item.data,
        config_maps=carried[CONFIG_MAPS],
        secrets=carried[SECRETS],
        services=services_of(pod, services),
    )
    return node_v1_pb2.ToNode(pod=message), wanted
