"""The service-to-endpoint table of one node: what is known, and what of it may be used. Pure.

Source: https://kubernetes.io/docs/reference/networking/virtual-ips/, KEP-1669 (terminating
endpoints), KEP-2086 (internal traffic policy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Network

from node.kubeproxy.objects import (
    EndpointSlice,
    PortSpec,
    Service,
    ServiceSpec,
    SliceEndpoint,
    encode,
    read_service,
    read_slice,
)

POD_SLICES = "endpointslice-controller.k8s.io"
API_SERVICE = "default/kubernetes"
PROTOCOLS = {"TCP": "tcp", "UDP": "udp"}
AFFINITY_SECONDS, AFFINITY_MAX_SECONDS = 10800, 86400
_BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the table and the rules must know of this node and of the cluster."""

    name: str
    addresses: tuple[str, ...]
    cluster_cidr: str = "10.42.0.0/16"
    service_cidr: str = "10.43.0.0/16"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A backend: an IPv4 address and a port."""

    address: str
    port: int
    local: bool = False
    """Whether it is on this node."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service, and the endpoints that new connections may go to."""

    service: str
    """`namespace/name`."""
    name: str
    protocol: str
    """tcp or udp."""
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    affinity_seconds: int = 0
    """How long a client stays with its endpoint; 0 for round robin."""
    internal_local: bool = False
    external_local: bool = False
    endpoints: tuple[Endpoint, ...] = ()
    local_endpoints: tuple[Endpoint, ...] = ()

    @property
    def title(self) -> str:
        """`namespace/name:port/protocol`, for people."""
        return f"{self.service}:{self.name or self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Refused:
    """An endpoint that is not used, and why."""

    service: str
    address: str
    reason: str


@dataclass(slots=True)
class Table:
    """Services and slices by `namespace/name`, as the JSON of what rules need of them.

    That is a third of their Structs' memory, and tells whether a change changes anything.
    """

    node: NodeFacts
    services: dict[str, bytes] = field(default_factory=dict)
    _slices: dict[str, bytes] = field(default_factory=dict)
    _of_service: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The slices of each service."""

    def put_service(self, key: str, service: Service) -> set[str]:
        """Take a service; answers the services whose rules may change."""
        data = encode(service)
        if self.services.get(key) == data:
            return set()
        self.services[key] = data
        return {key}

    def remove_service(self, key: str) -> set[str]:
        """Forget a service; answers the services whose rules may change."""
        return set() if self.services.pop(key, None) is None else {key}

    def put_slice(self, key: str, made: EndpointSlice) -> set[str]:
        """Take a slice; answers the services whose rules may change."""
        data = encode(made)
        if self._slices.get(key) == data:
            return set()
        changed = self.remove_slice(key)
        self._slices[key] = data
        owner = _owner(key, made)
        self._of_service[owner] = tuple(sorted((*self._of_service.get(owner, ()), key)))
        return changed | {owner}

    def remove_slice(self, key: str) -> set[str]:
        """Forget a slice; answers the services whose rules may change."""
        data = self._slices.pop(key, None)
        if data is None:
            return set()
        owner = _owner(key, read_slice(data))
        left = tuple(one for one in self._of_service.pop(owner) if one != key)
        if left:
            self._of_service[owner] = left
        return {owner}

    def check_invariants(self) -> None:
        """Every slice is found by the service that its label names, and by no other, in order."""
        owners: dict[str, list[str]] = {}
        for key in sorted(self._slices):
            owners.setdefault(_owner(key, read_slice(self._slices[key])), []).append(key)
        assert self._of_service == {owner: tuple(keys) for owner, keys in owners.items()}

    def ports(self, key: str) -> list[ServicePort]:
        """The ports of a service that this proxy serves; none for headless and external names."""
        data = self.services.get(key)
        if data is None or not is_served(service := read_service(data)):
            return []
        merged = []
        for port in service.spec.ports:
            node_port_is_sound = port.nodePort == 0 or is_port(port.nodePort)
            if port.protocol in PROTOCOLS and is_port(port.port) and node_port_is_sound:
                merged.append(self._port(key, service.spec, port))
        return merged

    def _port(self, key: str, spec: ServiceSpec, port: PortSpec) -> ServicePort:
        usable = [one for one in self._backends(key, port.name, port.protocol) if not one.reason]
        local = [one for one in usable if one.endpoint.local]
        config = spec.sessionAffinityConfig
        seconds = config.clientIP.timeoutSeconds if config and config.clientIP else None
        seconds = min(max(seconds or AFFINITY_SECONDS, 1), AFFINITY_MAX_SECONDS)
        return ServicePort(
            service=key,
            name=port.name,
            protocol=PROTOCOLS[port.protocol],
            cluster_ip=spec.clusterIP,
            port=port.port,
            node_port=port.nodePort,
            external_ips=tuple(sorted({one for one in spec.externalIPs if is_ipv4(one)})),
            affinity_seconds=seconds if spec.sessionAffinity == "ClientIP" else 0,
            internal_local=spec.internalTrafficPolicy == "Local",
            external_local=spec.externalTrafficPolicy == "Local",
            endpoints=_preferred(usable),
            local_endpoints=_preferred(local),
        )

    def refused(self) -> list[Refused]:
        """Every endpoint that is not used because of its address."""
        refusals = {}
        for key in sorted(self._of_service):
            for made in self._slices_of(key):
                for endpoint in made.endpoints:
                    for address in endpoint.addresses:
                        reason = self._problem(key, made, address)
                        if reason:
                            refusals[key, address] = Refused(key, address, reason)
        return list(refusals.values())

    def _slices_of(self, key: str) -> Iterator[EndpointSlice]:
        """The slices of a service, by name."""
        for name in self._of_service.get(key, ()):
            yield read_slice(self._slices[name])

    def _backends(self, key: str, port_name: str, protocol: str) -> list[_Backend]:
        """The endpoints of one port, ready or still serving; each address and port once."""
        backends: dict[tuple[str, int], _Backend] = {}
        for made in self._slices_of(key):
            numbers = [
                port.port or 0
                for port in made.ports
                if (port.name or "") == port_name and (port.protocol or "TCP") == protocol
            ]
            if made.addressType != "IPv4" or not numbers or not is_port(numbers[0]):
                continue
            for endpoint in made.endpoints:
                backend = self._backend(key, made, endpoint, numbers[0])
                if backend is not None:
                    place = (backend.endpoint.address, backend.endpoint.port)
                    backends[place] = backend.better_of(backends.get(place))
        return [backends[place] for place in sorted(backends)]

    def _backend(
        self, key: str, made: EndpointSlice, endpoint: SliceEndpoint, number: int
    ) -> _Backend | None:
        conditions = endpoint.conditions
        ready = conditions.ready is not False
        serving = ready if conditions.serving is None else conditions.serving
        if not endpoint.addresses or not (ready or (serving and conditions.terminating)):
            return None
        address = endpoint.addresses[0]
        local = endpoint.nodeName == self.node.name
        place = Endpoint(address, number, local)
        return _Backend(place, ready, self._problem(key, made, address))

    def _problem(self, key: str, made: EndpointSlice, address: str) -> str:
        """Why an address must not be used, or ''.

        Addresses of pods on the node's own network are the node's; only the controller that makes
        slices from pods, and the API's own service, may lead there.
        """
        try:
            parsed = IPv4Address(address)
        except ValueError:
            return "it is no IPv4 address" if made.addressType == "IPv4" else ""
        special = (
            (parsed.is_unspecified, "it is unspecified"),
            (parsed.is_loopback, "it is a loopback address"),
            (parsed.is_link_local, "it is a link-local address"),
            (parsed.is_multicast, "it is a multicast address"),
            (parsed == _BROADCAST, "it is the broadcast address"),
            (parsed in _network(self.node.service_cidr), "it is an address of services"),
        )
        for wrong, reason in special:
            if wrong:
                return reason
        trusted = made.metadata.labels.managed_by == POD_SLICES or key == API_SERVICE
        if address in self.node.addresses and not trusted:
            return "it is this node's own address"
        return ""


@dataclass(frozen=True, slots=True)
class _Backend:
    """An endpoint that a slice offers."""

    endpoint: Endpoint
    ready: bool
    reason: str

    def better_of(self, other: _Backend | None) -> _Backend:
        """Of two that name the same address: the ready one."""
        return other if other is not None and other.ready and not self.ready else self


def _preferred(backends: Iterable[_Backend]) -> tuple[Endpoint, ...]:
    """The ready ones; when there is none, those that still serve on their way out (KEP-1669)."""
    members = list(backends)
    ready = [one.endpoint for one in members if one.ready]
    return tuple(ready or [one.endpoint for one in members])


@cache
def _network(cidr: str) -> IPv4Network:
    """Parsed once: every endpoint is compared with it."""
    return IPv4Network(cidr)


def _owner(key: str, made: EndpointSlice) -> str:
    """The service that a slice belongs to."""
    namespace = key.partition("/")[0]
    return f"{namespace}/{made.metadata.labels.service_name}"


def is_served(service: Service) -> bool:
    """Whether this proxy is the one for a service, and the service has an address."""
    spec, labels = service.spec, service.metadata.labels
    has_address = is_ipv4(spec.clusterIP) and spec.type != "ExternalName"
    return has_address and labels.proxy_name is None and labels.headless is None


def is_port(number: int) -> bool:
    """Whether rules can be made for it."""
    return 0 < number < 65536


def is_ipv4(address: str) -> bool:
    """Whether rules can be made for it: one wrong address would fail a whole transaction."""
    try:
        IPv4Address(address)
    except ValueError:
        return False
    return True
