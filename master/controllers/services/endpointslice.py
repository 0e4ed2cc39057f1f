"""Keeps the EndpointSlices of every service with a selector equal to the pods that it selects.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.types.core_v1 import Node, Service, ServicePort
from common.api.types.discovery_v1 import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.pods import controller_reference
from master.controllers.services.endpointslices import MANAGED_BY, SERVICE_NAME, Group, Ports, plan
from master.controllers.services.services import (
    HEADLESS,
    Backend,
    backends,
    has_selector,
    service_keys,
)

MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"


class EndpointSliceController:
    """One service's pods become endpoints: ready, serving and terminating."""

    name: ClassVar[str] = "endpointslice"
    account: ClassVar[str] = "endpointslice-controller"
    watches: ClassVar[Sequence[str]] = ("services", "pods", "endpointslices.discovery.k8s.io")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The service itself, those that select the pod, or the one that a slice belongs to."""
        if resource.plural != "endpointslices":
            return service_keys(view, resource, old, new)
        items = [item for item in (old, new) if item is not None]
        ours = [item for item in items if item.labels.get(MANAGED_BY) == MANAGER]
        return {f"{item.namespace}/{item.labels.get(SERVICE_NAME, '')}" for item in ours}

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Nothing for a service without a selector: its endpoints are its owner's business."""
        item = view["services"].by_key(key)
        if item is None or item.deleting or not has_selector(item):
            return []
        service = item.decode(Service)
        existing = [
            slice_.decode(EndpointSlice)
            for slice_ in view["endpointslices.discovery.k8s.io"].owned_by(item.uid)
            if slice_.labels.get(MANAGED_BY) == MANAGER and not slice_.deleting
        ]
        return plan(existing, _groups(view, service), _template(service))


def _groups(view: View, service: Service) -> list[Group]:
    """Endpoints by the numbers of their ports: a name may stand for another one in each pod."""
    groups: dict[bytes, tuple[Ports, list[Endpoint]]] = {}
    made: dict[int, list[Endpoint]] = {}
    zones: dict[str, str | None] = {}
    for backend in backends(view, service):
        shared = id(backend.ports)
        if shared not in made:
            ports = tuple(map(_port, backend.ports))
            _, made[shared] = groups.setdefault(codec.encode(ports), (ports, []))
        made[shared].append(_endpoint(backend, service, view, zones))
    return [("IPv4", ports, endpoints) for ports, endpoints in groups.values()]


def _port(port: ServicePort) -> EndpointPort:
    number = port.targetPort if isinstance(port.targetPort, int) else None
    return EndpointPort(
        name=port.name, protocol=port.protocol, port=number, appProtocol=port.appProtocol
    )


def _endpoint(
    backend: Backend, service: Service, view: View, zones: dict[str, str | None]
) -> Endpoint:
    node = backend.pod.spec.nodeName
    if node not in zones:
        zones[node] = _zone(view, node)
    serving, terminating = backend.serving, backend.terminating
    ready = service.spec.publishNotReadyAddresses or (serving and not terminating)
    return Endpoint(
        addresses=(backend.address,),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=backend.hostname(service) or None,
        targetRef=backend.reference(),
        nodeName=node,
        zone=zones[node],
    )


def _zone(view: View, name: str) -> str | None:
    item = view["nodes"].get("", name)
    return item.decode(Node).metadata.labels.get(ZONE) if item is not None else None


def _template(service: Service) -> EndpointSlice:
    """What all slices of a service have in common."""
    meta = service.metadata
    reserved = (SERVICE_NAME, MANAGED_BY, HEADLESS_LABEL)
    labels = {k: v for k, v in meta.labels.items() if k not in reserved}
    labels |= {SERVICE_NAME: meta.name, MANAGED_BY: MANAGER}
    if service.spec.clusterIP == HEADLESS:
        labels[HEADLESS_LABEL] = ""
    return EndpointSlice(
        metadata=ObjectMeta(
            generateName=f"{meta.name}-",
            namespace=meta.namespace,
            labels=labels,
            ownerReferences=(controller_reference("v1", "Service", meta),),
        ),
        addressType="IPv4",
    )
