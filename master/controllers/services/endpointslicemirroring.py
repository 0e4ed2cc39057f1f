"""Mirrors Endpoints that users write for services without a selector into EndpointSlices.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import ClassVar

from common.api.resource import Resource
from common.api.types.core_v1 import EndpointAddress, Endpoints, EndpointSubset
from common.api.types.discovery_v1 import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
)
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Delete
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.pods import controller_reference
from master.controllers.lib.resources import ENDPOINT_SLICES
from master.controllers.services.endpointslices import (
    MANAGED_BY,
    SERVICE_NAME,
    SKIP_MIRROR,
    Group,
    plan,
)
from master.controllers.services.services import has_selector

MANAGER = "endpointslicemirroring-controller.k8s.io"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ADDRESSES_MAX = 1000
"""Addresses of one subset; more are not mirrored."""
ALL_ADDRESSES_MAX = 4000
"""Of all subsets: the work is done in one turn of the event loop."""


class EndpointSliceMirroringController:
    """The Endpoints of one service, as slices."""

    name: ClassVar[str] = "endpointslicemirroring"
    account: ClassVar[str] = "endpointslicemirroring-controller"
    watches: ClassVar[Sequence[str]] = (
        "endpoints",
        "services",
        "endpointslices.discovery.k8s.io",
    )

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The service or Endpoints of that name, or the one that a mirror belongs to."""
        items = [item for item in (old, new) if item is not None]
        if resource.plural != "endpointslices":
            return {item.key for item in items}
        ours = [item for item in items if item.labels.get(MANAGED_BY) == MANAGER]
        return {f"{item.namespace}/{item.labels.get(SERVICE_NAME, '')}" for item in ours}

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Mirror, or take the mirror away."""
        service, endpoints_item = view["services"].by_key(key), view["endpoints"].by_key(key)
        if endpoints_item is None:
            return []  # the mirror goes with its owner
        existing = [
            item
            for item in view["endpointslices.discovery.k8s.io"].owned_by(endpoints_item.uid)
            if item.labels.get(MANAGED_BY) == MANAGER and not item.deleting
        ]
        if (
            service is None
            or has_selector(service)
            or endpoints_item.deleting
            or _is_excluded(endpoints_item)
        ):
            return [_delete(item) for item in existing]
        endpoints = endpoints_item.decode(Endpoints)
        if LEADER in endpoints.metadata.annotations:
            return [_delete(item) for item in existing]
        slices = [item.decode(EndpointSlice) for item in existing]
        if not slices and not endpoints.subsets:
            return []
        return plan(slices, list(_groups(endpoints)), _template(endpoints))


def _is_excluded(found: Item) -> bool:
    return found.labels.get(SKIP_MIRROR) == "true"


def _delete(item: Item) -> Command:
    return Delete(
        resource=ENDPOINT_SLICES,
        namespace=item.namespace,
        name=item.name,
        uid=item.uid,
        reason="its Endpoints are no longer mirrored",
    )


def _groups(endpoints: Endpoints) -> Iterator[Group]:
    """Each subset, its IPv4 and its IPv6 addresses apart."""
    room = ALL_ADDRESSES_MAX
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointPort(name=p.name, protocol=p.protocol, port=p.port, appProtocol=p.appProtocol)
            for p in subset.ports
        )
        members = list(islice(_endpoints(subset), min(room, ADDRESSES_MAX)))
        room -= len(members)
        for kind, colons in (("IPv4", False), ("IPv6", True)):
            of_kind = [e for e in members if (":" in e.addresses[0]) is colons]
            if of_kind:
                yield kind, ports, of_kind


def _endpoints(subset: EndpointSubset) -> Iterator[Endpoint]:
    for address in subset.addresses:
        yield _endpoint(address, ready=True)
    for address in subset.notReadyAddresses:
        yield _endpoint(address, ready=False)


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        nodeName=address.nodeName,
        targetRef=address.targetRef,
    )


def _template(endpoints: Endpoints) -> EndpointSlice:
    meta = endpoints.metadata
    return EndpointSlice(
        metadata=ObjectMeta(
            generateName=f"{meta.name}-",
            namespace=meta.namespace,
            labels={**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: MANAGER},
            annotations={k: v for k, v in meta.annotations.items() if k != LAST_APPLIED},
            ownerReferences=(controller_reference("v1", "Endpoints", meta),),
        ),
        addressType="IPv4",
    )
