"""Keeps the Endpoints object of every service with a selector: the older form, for old clients.

Source: pkg/controller/endpoint of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import ClassVar

from common.api.codec import json as codec
from common.api.resource import Resource
from common.api.types.core_v1 import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Create, Delete, Update
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import ENDPOINTS
from master.controllers.services.services import (
    HEADLESS,
    Backend,
    backends,
    has_selector,
    service_keys,
)

ADDRESSES_MAX = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
HEADLESS_LABEL = "service.kubernetes.io/headless"


class EndpointsController:
    """One object a service, with the addresses of its pods by their ports."""

    name: ClassVar[str] = "endpoints"
    account: ClassVar[str] = "endpoint-controller"
    watches: ClassVar[Sequence[str]] = ("services", "pods", "endpoints")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The service itself, those that select the pod, or the one of that name."""
        if resource.plural != "endpoints":
            return service_keys(view, resource, old, new)
        items = [item for item in (new or old,) if item is not None]
        return [item.key for item in items if view["services"].by_key(item.key) is not None]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Create or update the object; delete it when its service is gone."""
        item, existing = view["services"].by_key(key), view["endpoints"].by_key(key)
        if item is None:
            return [_delete(existing)] if existing is not None and _is_ours(existing) else []
        if item.deleting or not has_selector(item):
            return []
        service = item.decode(Service)
        wanted = _wanted(service, backends(view, service))
        if existing is None:
            reason = f"service {key} has no Endpoints"
            namespace = item.namespace
            return [Create(resource=ENDPOINTS, namespace=namespace, body=wanted, reason=reason)]
        current = existing.decode(Endpoints)
        same = (
            current.subsets == wanted.subsets
            and current.metadata.labels == wanted.metadata.labels
            and current.metadata.annotations.get(OVER_CAPACITY)
            == wanted.metadata.annotations.get(OVER_CAPACITY)
        )
        if same:
            return []
        current.subsets, current.metadata.labels = wanted.subsets, wanted.metadata.labels
        current.metadata.annotations.pop(OVER_CAPACITY, None)
        current.metadata.annotations |= wanted.metadata.annotations
        return [Update(resource=ENDPOINTS, body=current, reason=f"pods of service {key} changed")]


def _is_ours(found: Item) -> bool:
    return found.labels.get(MANAGED_BY) == MANAGER


def _delete(found: Item) -> Command:
    return Delete(
        resource=ENDPOINTS,
        namespace=found.namespace,
        name=found.name,
        uid=found.uid,
        reason=f"service {found.key} is gone",
    )


def _wanted(service: Service, pods: Sequence[Backend]) -> Endpoints:
    """The whole object; beyond the limit, addresses that are not ready go first."""
    meta = service.metadata
    early = service.spec.publishNotReadyAddresses
    counted = [b for b in pods if early or not b.terminating]
    counted.sort(key=lambda b: (not (early or b.serving), _number(b.address)))
    labels = {k: v for k, v in meta.labels.items() if k != HEADLESS_LABEL}
    labels[MANAGED_BY] = MANAGER
    if service.spec.clusterIP == HEADLESS:
        labels[HEADLESS_LABEL] = ""
    annotations = {OVER_CAPACITY: "truncated"} if len(counted) > ADDRESSES_MAX else {}
    return Endpoints(
        metadata=ObjectMeta(
            name=meta.name, namespace=meta.namespace, labels=labels, annotations=annotations
        ),
        subsets=_subsets(service, counted[:ADDRESSES_MAX], early=early),
    )


@lru_cache(maxsize=65_536)
def _number(address: str) -> int:
    """By which addresses are put in order."""
    return int(ip_address(address))


def _subsets(
    service: Service, pods: Sequence[Backend], *, early: bool
) -> tuple[EndpointSubset, ...]:
    """Addresses by the ports that they serve; `early` counts pods as ready that are not."""
    subsets: dict[bytes, EndpointSubset] = {}
    keys: dict[int, bytes] = {}
    addresses: dict[bytes, tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    for backend in pods:
        if service.spec.ports and not backend.ports:
            continue
        shared = id(backend.ports)
        if shared not in keys:
            ports = tuple(sorted(map(_port, backend.ports), key=lambda p: (p.name, p.port)))
            keys[shared] = codec.encode(ports)
            subsets.setdefault(keys[shared], EndpointSubset(ports=ports))
        key = keys[shared]
        ready, unready = addresses.setdefault(key, ([], []))
        address = EndpointAddress(
            ip=backend.address,
            hostname=backend.hostname(service),
            nodeName=backend.pod.spec.nodeName,
            targetRef=backend.reference(),
        )
        (ready if early or backend.serving else unready).append(address)
    for key, (ready, unready) in addresses.items():
        subsets[key].addresses, subsets[key].notReadyAddresses = tuple(ready), tuple(unready)
    return tuple(subsets[key] for key in sorted(subsets))


def _port(port: ServicePort) -> EndpointPort:
    number = port.targetPort if isinstance(port.targetPort, int) else 0
    return EndpointPort(
        name=port.name, port=number, protocol=port.protocol, appProtocol=port.appProtocol
    )
