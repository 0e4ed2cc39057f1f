"""Keeps `default/kubernetes`: the service by which pods reach the API.

Source: pkg/controlplane/controller/kubernetesservice of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import ClassVar, TypeVar

import msgspec

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.types import core_v1, discovery_v1
from common.api.types.core_v1 import (
    EndpointAddress,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
    ServiceSpec,
)
from common.api.types.discovery_v1 import Endpoint, EndpointConditions, EndpointSlice
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Create, Update
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from master.controllers.services.endpointslices import SERVICE_NAME, SKIP_MIRROR

NAMESPACE, NAME, PORT, PORT_NAME = "default", "kubernetes", 443, "https"
KEY = f"{NAMESPACE}/{NAME}"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}
T = TypeVar("T", Service, Endpoints, EndpointSlice)


class KubernetesServiceController:
    """The service, its Endpoints and its slice; they lead to this master."""

    name: ClassVar[str] = "kubernetesservice"
    account: ClassVar[str] = "kubernetes-service-controller"
    watches: ClassVar[Sequence[str]] = (
        "services",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "namespaces",
    )

    def __init__(self, address: str, port: int, cluster_ip: str) -> None:
        self._address, self._port = address, port
        self._cluster_ip = cluster_ip

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The one key, when one of the three objects or their namespace has changed."""
        items = [item for item in (new or old,) if item is not None]
        return [KEY for item in items if item.key in (KEY, NAMESPACE)]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Make what is missing and put right what leads elsewhere."""
        if view["namespaces"].get("", NAMESPACE) is None:
            return []
        commands = _ensure(SERVICES, view["services"].by_key(KEY), self._service())
        if ip_address(self._address).is_loopback:
            return commands  # nothing that a pod could reach
        return [
            *commands,
            *_ensure(ENDPOINTS, view["endpoints"].by_key(KEY), self._endpoints()),
            *_ensure(
                ENDPOINT_SLICES,
                view["endpointslices.discovery.k8s.io"].by_key(KEY),
                self._slice(),
            ),
        ]

    def _service(self) -> Service:
        port = ServicePort(name=PORT_NAME, protocol="TCP", port=PORT, targetPort=self._port)
        return Service(
            metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels=_LABELS),
            spec=ServiceSpec(
                ports=(port,),
                type="ClusterIP",
                clusterIP=self._cluster_ip,
                clusterIPs=(self._cluster_ip,),
                sessionAffinity="None",
            ),
        )

    def _endpoints(self) -> Endpoints:
        port = core_v1.EndpointPort(name=PORT_NAME, port=self._port, protocol="TCP")
        return Endpoints(
            metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={SKIP_MIRROR: "true"}),
            subsets=(
                EndpointSubset(addresses=(EndpointAddress(ip=self._address),), ports=(port,)),
            ),
        )

    def _slice(self) -> EndpointSlice:
        port = discovery_v1.EndpointPort(name=PORT_NAME, port=self._port, protocol="TCP")
        return EndpointSlice(
            metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={SERVICE_NAME: NAME}),
            addressType="IPv4",
            endpoints=(
                Endpoint(addresses=(self._address,), conditions=EndpointConditions(ready=True)),
            ),
            ports=(port,),
        )


def _ensure(resource: Resource, item: Item | None, wanted: T) -> list[Command]:
    """Create the object, or give it the content that it should have."""
    if item is None:
        reason = f"{resource.kind} {KEY} is missing"
        return [Create(resource=resource, namespace=NAMESPACE, body=wanted, reason=reason)]
    current = item.decode(type(wanted))
    if _routing_fields(current) == _routing_fields(wanted):
        return []
    for name in _CONTENT[type(wanted)]:
        setattr(current, name, getattr(wanted, name))
    return [Update(resource=resource, body=current, reason=f"{resource.kind} {KEY} was changed")]


_CONTENT: dict[type[msgspec.Struct], tuple[str, ...]] = {
    Service: ("spec",),
    Endpoints: ("subsets",),
    EndpointSlice: ("endpoints", "ports"),
}


def _routing_fields(obj: Service | Endpoints | EndpointSlice) -> bytes:
    """What decides where traffic goes; a service's defaults are its API server's."""
    if isinstance(obj, Service):
        return codec.encode([obj.spec.ports, obj.spec.clusterIP, obj.spec.type])
    return codec.encode([getattr(obj, name) for name in _CONTENT[type(obj)]])
