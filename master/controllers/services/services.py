"""What the endpoint controllers ask of services and pods: who selects whom, on which ports. Pure.

Source: https://kubernetes.io/docs/concepts/services-networking/service/ and
pkg/controller/endpointslice of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address

import msgspec

from common.api import conditions, labels
from common.api.resource import Resource
from common.api.types.core_v1 import (
    ContainerPort,
    ObjectReference,
    PodCondition,
    Service,
    ServicePort,
)
from common.client.informer import Item
from master.controllers.base import View

HEADLESS = "None"
FINISHED = ("Succeeded", "Failed")


class _Spec(msgspec.Struct, gc=False):
    selector: dict[str, str] | None = None
    type: str = ""


class _Service(msgspec.Struct, gc=False):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decoder = msgspec.json.Decoder(_Service)


@lru_cache(maxsize=8192)
def _selector(data: bytes) -> tuple[tuple[str, str], ...]:
    """The selector of a service that leads to pods. Asked for each service with every pod."""
    spec = _decoder.decode(data).spec
    return () if spec.type == "ExternalName" else tuple((spec.selector or {}).items())


def has_selector(service: Item) -> bool:
    """Whether a service's backends are pods that it selects."""
    return bool(_selector(service.data))


def selects(service: Item, pod_labels: Mapping[str, str]) -> bool:
    """Whether a service leads to a pod with these labels."""
    wanted = _selector(service.data)
    return bool(wanted) and all(pod_labels.get(key) == value for key, value in wanted)


def services_of(view: View, old: Item | None, new: Item | None) -> Iterator[str]:
    """The keys of the services that lead to a pod, or led to it before a change."""
    items = [item for item in (old, new) if item is not None]
    if not items:
        return
    for service in view["services"].list(items[0].namespace):
        if any(selects(service, item.labels) for item in items):
            yield service.key


def service_keys(
    view: View, resource: Resource, old: Item | None, new: Item | None
) -> Iterable[str]:
    """The services that a change of a pod or of a service itself is about."""
    if resource.plural == "pods":
        return services_of(view, old, new)
    return [item.key for item in (new or old,) if item is not None]


class _Meta(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    deletionTimestamp: str | None = None


class _Container(msgspec.Struct, gc=False):
    ports: tuple[ContainerPort, ...] = ()
    restartPolicy: str | None = None


class _PodSpec(msgspec.Struct, gc=False):
    nodeName: str = ""
    hostname: str = ""
    subdomain: str = ""
    containers: tuple[_Container, ...] = ()
    initContainers: tuple[_Container, ...] = ()


class _PodStatus(msgspec.Struct, gc=False):
    podIP: str = ""
    conditions: tuple[PodCondition, ...] = ()


class BackendPod(msgspec.Struct, gc=False):
    """What endpoints need of a pod: to read all of it takes twice as long, for thousands."""

    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


_pod_decoder = msgspec.json.Decoder(BackendPod)


class Backend(msgspec.Struct, gc=False):
    """A pod behind a service, and the ports that it serves there."""

    pod: BackendPod
    ports: tuple[ServicePort, ...]
    """The service's ports; `targetPort` is the number in this pod. One tuple is shared by all pods
    with the same numbers, so that what is made of it is made once."""

    @property
    def address(self) -> str:
        """The pod's address."""
        return self.pod.status.podIP

    @property
    def serving(self) -> bool:
        """Whether the pod is ready, be it on its way out or not."""
        return conditions.is_true(self.pod.status.conditions, "Ready")

    @property
    def terminating(self) -> bool:
        """Whether the pod is being deleted."""
        return self.pod.metadata.deletionTimestamp is not None

    def reference(self) -> ObjectReference:
        """The pod as endpoints name it."""
        meta = self.pod.metadata
        return ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)

    def hostname(self, service: Service) -> str:
        """The name that the pod has below the service's, or ''."""
        spec = self.pod.spec
        return spec.hostname if spec.subdomain == service.metadata.name else ""


def backends(view: View, service: Service) -> list[Backend]:
    """Every pod with an address that a service leads to and that has not finished, by key."""
    selector, ports = labels.from_map(service.spec.selector), _TargetPorts(service)
    offering = []
    for item in view["pods"].list(service.metadata.namespace, selector):
        if item.phase in FINISHED or not item.node:
            continue
        pod = _pod_decoder.decode(item.data)
        if _can_serve(pod.status.podIP):
            offering.append(Backend(pod, ports.of(pod)))
    return offering


@lru_cache(maxsize=65_536)
def _can_serve(address: str) -> bool:
    """Whether traffic may be sent there: a slice with another address is refused as a whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    special = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast
    return not (special or parsed.is_unspecified)


Offered = tuple[tuple[tuple[str, str], int], ...]
"""((name, protocol), number) of each port that a pod's containers name."""


class _TargetPorts:
    """The ports of a service in its pods, made once for all pods that name theirs alike."""

    def __init__(self, service: Service) -> None:
        self._ports = service.spec.ports
        self._named = any(not isinstance(port.targetPort, int) for port in self._ports)
        self._made: dict[Offered, tuple[ServicePort, ...]] = {}

    def of(self, pod: BackendPod) -> tuple[ServicePort, ...]:
        """Those that a pod has; one with a name that no container knows is left out."""
        offered = _offered(pod) if self._named else ()
        ports = self._made.get(offered)
        if ports is None:
            ports = self._made[offered] = tuple(_target_ports(self._ports, dict(offered)))
        return ports


def _offered(pod: BackendPod) -> Offered:
    """Of ports with the same name the first one counts."""
    offered: dict[tuple[str, str], int] = {}
    sidecars = (c for c in pod.spec.initContainers if c.restartPolicy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            if port.name:
                offered.setdefault((port.name, port.protocol), port.containerPort)
    return tuple(offered.items())


def _target_ports(
    ports: Iterable[ServicePort], offered: Mapping[tuple[str, str], int]
) -> Iterator[ServicePort]:
    for port in ports:
        if isinstance(port.targetPort, int):
            number = port.targetPort or port.port
        else:
            number = offered.get((port.targetPort or "", port.protocol), 0)
        if number:
            yield ServicePort(
                name=port.name,
                protocol=port.protocol,
                appProtocol=port.appProtocol,
                port=port.port,
                targetPort=number,
            )
