"""Rules of Service: types, defaults, and the addresses and ports that it owns.

A cluster IP and node ports are allocated in the transaction that writes the service and released
in the one that takes them away. Source: k8s.io/kubernetes pkg/registry/core/service and
https://kubernetes.io/docs/reference/networking/virtual-ips/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import chain, islice
from typing import Self

from common.api import errors, names
from common.api.errors import FieldError
from common.api.fields import fields
from common.api.resource import Resource
from common.api.types.core_v1 import (
    ClientIPConfig,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
)
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Settings, Strategy
from master.apiserver.resources.core.service import servicewarnings
from master.apiserver.resources.core.service.servicecells import cells_of
from master.apiserver.resources.core.service.servicerules import (
    HEADLESS,
    is_external,
    is_headless,
    needs_health_check,
    needs_node_ports,
    unchanged_address,
    validate_spec,
)
from master.storage.keys import allocation_key
from master.storage.store import Allocation

FIELDS = fields("spec.clusterIP", "spec.type")

CLUSTER_IPS, NODE_PORTS = "clusterips", "nodeports"
CLIENT_IP_TIMEOUT_SECONDS = 10800
NODE_PORT_RANGE = range(30000, 32768)
_BAND_MIN, _BAND_MAX = 16, 256
NO_LOAD_BALANCER = (
    "no load balancer serves type LoadBalancer here: the service is reached by its cluster IP and "
    "node ports"
)


class ServiceStrategy(Strategy):
    """A service has an address of its own, and ports on every node when its type wants them."""

    delete_answers_object = True

    def __init__(self, resource: Resource, *, service_cidr: str) -> None:
        super().__init__(resource)
        self._cidr = IPv4Network(service_cidr)

    @classmethod
    def of(cls, resource: Resource, settings: Settings) -> Self:
        """With what its rules depend on."""
        return cls(resource, service_cidr=settings.service_cidr)

    def name_problems(self, name: str) -> list[str]:
        """Services are DNS labels: they become host names."""
        return names.dns_label(name)

    def prepare_create(self, obj: Service) -> None:
        """The list of cluster IPs follows the single one."""
        super().prepare_create(obj)
        if obj.spec.clusterIP and not obj.spec.clusterIPs:
            obj.spec.clusterIPs = (obj.spec.clusterIP,)
        _default_families(obj.spec)

    def prepare_update(self, new: Service, old: Service) -> None:
        """Keep allocated values that a writer left out, drop those without a use any more."""
        super().prepare_update(new, old)
        _follow(new.spec, old.spec)
        _keep_allocated(new.spec, old.spec)
        _drop_unused(new, old)
        _default_families(new.spec)

    def default(self, obj: Service) -> None:
        """ClusterIP, TCP, no affinity."""
        spec = obj.spec
        spec.type = spec.type or "ClusterIP"
        _default_affinity(spec)
        for port in spec.ports:
            port.protocol = port.protocol or "TCP"
            if port.targetPort in ("", 0):
                port.targetPort = port.port
        if is_external(spec) and not spec.externalTrafficPolicy:
            spec.externalTrafficPolicy = "Cluster"
        if spec.internalTrafficPolicy is None and spec.type != "ExternalName":
            spec.internalTrafficPolicy = "Cluster"
        if spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True

    def validate(self, obj: Service) -> list[FieldError]:
        """The rules of the spec, and that explicit values can be had here."""
        return errors.first(chain(validate_spec(obj.spec), self._out_of_range(obj.spec)))

    def _out_of_range(self, spec: ServiceSpec) -> Iterator[FieldError]:
        for text in spec.clusterIPs:
            if text != HEADLESS and not self._owns(text):
                detail = (
                    f"failed to allocate IP {text}: the provided IP ({text}) is not in the valid "
                    f"range. The range of valid IPs is {self._cidr}"
                )
                yield errors.invalid("spec.clusterIPs", list(spec.clusterIPs), detail)
        low, high = NODE_PORT_RANGE[0], NODE_PORT_RANGE[-1]
        for path, number in _node_ports(spec):
            if number and number not in NODE_PORT_RANGE:
                detail = (
                    "provided port is not in the valid range. The range of valid ports is "
                    f"{low}-{high}"
                )
                yield errors.invalid(path, number, detail)

    def _owns(self, text: str) -> bool:
        """Whether an address is a service's; the network's first and last one are nobody's."""
        try:
            address = IPv4Address(text)
        except ValueError:
            return True  # that it is no address is said elsewhere
        return address in self._cidr and address not in (
            self._cidr.network_address,
            self._cidr.broadcast_address,
        )

    def validate_update(self, new: Service, old: Service) -> list[FieldError]:
        """An address never changes while the service has one."""
        return list(unchanged_address(new.spec, old.spec))

    def warnings(self, obj: Service, old: Service | None = None) -> list[str]:
        """No load balancer is made; what of a service has no effect, or goes away."""
        texts = super().warnings(obj, old)
        if obj.spec.type == "LoadBalancer":
            texts.append(NO_LOAD_BALANCER)
        return [*texts, *islice(servicewarnings.of(obj), servicewarnings.TEXTS_MAX)]

    def propose(self, obj: Service, taken: Collection[str]) -> None:
        """An address, and a port for each port that needs one on the nodes."""
        spec, uid = obj.spec, obj.metadata.uid
        if spec.type == "ExternalName":
            return
        if not spec.clusterIP or allocation_key(CLUSTER_IPS, spec.clusterIP) in taken:
            spec.clusterIP = self._free_address(obj, uid, taken)
            spec.clusterIPs = (spec.clusterIP,)
        if needs_node_ports(spec):
            _propose_node_ports(obj, uid, taken)
        if needs_health_check(spec):
            number = spec.healthCheckNodePort
            if not number or allocation_key(NODE_PORTS, str(number)) in taken:
                spec.healthCheckNodePort = _free_port(obj, f"{uid}/health", taken, set())

    def _free_address(self, obj: Service, uid: str, taken: Collection[str]) -> str:
        """An address that the digest of the UID leads to, so that the first one mostly is free.

        The lower part of the range is kept for addresses that users choose (KEP-3070).
        """
        hosts = self._cidr.num_addresses - 2
        band = min(max(_BAND_MIN, hosts // 16), _BAND_MAX)
        for offset in _spread(range(1 + band, hosts + 1), range(1, 1 + band), uid):
            text = str(self._cidr.network_address + offset)
            if allocation_key(CLUSTER_IPS, text) not in taken:
                return text
        raise _exhausted(obj, "spec.clusterIPs", "range is full")

    def allocations(self, obj: Service) -> list[Allocation]:
        """The cluster IP and the node ports."""
        spec, uid = obj.spec, obj.metadata.uid
        wanted = [
            Allocation(allocation_key(CLUSTER_IPS, text), uid)
            for text in spec.clusterIPs
            if text != HEADLESS
        ]
        ports = sorted({number for _, number in _node_ports(spec) if number})
        return wanted + [Allocation(allocation_key(NODE_PORTS, str(p)), uid) for p in ports]

    def already_taken(self, obj: Service, key: str) -> FieldError:
        """What to say of an explicit value that another service has."""
        if key.startswith(allocation_key(CLUSTER_IPS, "x")[:-1]):
            detail = f"failed to allocate IP {obj.spec.clusterIP}: provided IP is already allocated"
            return errors.invalid("spec.clusterIPs", list(obj.spec.clusterIPs), detail)
        for path, number in _node_ports(obj.spec):
            if allocation_key(NODE_PORTS, str(number)) == key:
                return errors.invalid(path, number, "provided port is already allocated")
        return super().already_taken(obj, key)


def _node_ports(spec: ServiceSpec) -> Iterator[tuple[str, int]]:
    """(field path, number) of every port on the nodes."""
    for number, port in enumerate(spec.ports):
        yield f"spec.ports[{number}].nodePort", port.nodePort
    yield "spec.healthCheckNodePort", spec.healthCheckNodePort


def _propose_node_ports(obj: Service, uid: str, taken: Collection[str]) -> None:
    """A node port for each port; TCP and UDP of the same port share one number."""
    mine = {p.nodePort for p in obj.spec.ports if p.nodePort}
    shared: dict[int, ServicePort] = {}
    for index, port in enumerate(obj.spec.ports):
        if port.nodePort and allocation_key(NODE_PORTS, str(port.nodePort)) not in taken:
            shared.setdefault(port.port, port)
            continue
        twin = shared.get(port.port)
        if twin is not None and twin.protocol != port.protocol:
            port.nodePort = twin.nodePort
            continue
        port.nodePort = _free_port(obj, f"{uid}/{index}", taken, mine)
        mine.add(port.nodePort)
        shared.setdefault(port.port, port)


def _free_port(obj: Service, seed: str, taken: Collection[str], mine: Collection[int]) -> int:
    """A node port that is neither known to be taken nor the service's own already."""
    band = NODE_PORT_RANGE[0] + min(max(_BAND_MIN, len(NODE_PORT_RANGE) // 32), 128)
    upper, lower = range(band, NODE_PORT_RANGE.stop), range(NODE_PORT_RANGE.start, band)
    for number in _spread(upper, lower, seed):
        if number not in mine and allocation_key(NODE_PORTS, str(number)) not in taken:
            return number
    raise _exhausted(obj, "spec.ports[0].nodePort", "range is full")


def _spread(first: range, then: range, seed: str) -> Iterator[int]:
    """All numbers of two ranges, each from a place that depends on the seed."""
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    for band in (first, then):
        for step in range(len(band)):
            yield band[(start + step) % len(band)]


def _exhausted(obj: Service, path: str, detail: str) -> errors.StatusError:
    finding = errors.invalid(path, None, f"failed to allocate: {detail}")
    return errors.invalid_object("", "Service", obj.metadata.name, [finding])


def _default_affinity(spec: ServiceSpec) -> None:
    spec.sessionAffinity = spec.sessionAffinity or "None"
    config = spec.sessionAffinityConfig
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
    elif spec.sessionAffinity == "ClientIP" and (
        config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None
    ):
        spec.sessionAffinityConfig = SessionAffinityConfig(
            clientIP=ClientIPConfig(timeoutSeconds=CLIENT_IP_TIMEOUT_SECONDS)
        )


def _default_families(spec: ServiceSpec) -> None:
    """IPv4 alone; a headless service without a selector may name addresses of both families."""
    if spec.type == "ExternalName":
        return
    both = is_headless(spec) and not spec.selector
    if spec.ipFamilyPolicy is None:
        spec.ipFamilyPolicy = "RequireDualStack" if both else "SingleStack"
    if not spec.ipFamilies:
        both = both and spec.ipFamilyPolicy != "SingleStack"
        spec.ipFamilies = ("IPv4", "IPv6") if both else ("IPv4",)


def _follow(new: ServiceSpec, old: ServiceSpec) -> None:
    """The list of cluster IPs follows the single one when only that was changed."""
    if new.clusterIP != old.clusterIP and new.clusterIPs == old.clusterIPs:
        new.clusterIPs = (new.clusterIP,) if new.clusterIP else ()
    elif new.clusterIPs != old.clusterIPs and new.clusterIP == old.clusterIP:
        new.clusterIP = new.clusterIPs[0] if new.clusterIPs else ""


def _keep_allocated(new: ServiceSpec, old: ServiceSpec) -> None:
    """A writer that leaves an address or a node port out does not ask for another one."""
    if new.type != "ExternalName" and old.type != "ExternalName" and not new.clusterIP:
        new.clusterIP, new.clusterIPs = old.clusterIP, old.clusterIPs
    if needs_node_ports(old) and needs_node_ports(new):
        known = {port.name: port.nodePort for port in old.ports}
        used = {port.nodePort for port in new.ports}
        for port in new.ports:
            if not port.nodePort and known.get(port.name, 0) not in used:
                port.nodePort = known[port.name]
    if needs_health_check(old) and needs_health_check(new) and not new.healthCheckNodePort:
        new.healthCheckNodePort = old.healthCheckNodePort


def _drop_unused(new: Service, old: Service) -> None:
    """What the former type needed and the new one has no use for goes, unless it was changed."""
    spec, former = new.spec, old.spec
    if spec.type == "ExternalName" and former.type != "ExternalName":
        if spec.clusterIPs == former.clusterIPs:
            spec.clusterIP, spec.clusterIPs = "", ()
        if spec.ipFamilies == former.ipFamilies:
            spec.ipFamilies = ()
        if spec.ipFamilyPolicy == former.ipFamilyPolicy:
            spec.ipFamilyPolicy = None
    before = {0, *(port.nodePort for port in former.ports)}
    unused = needs_node_ports(former) and not needs_node_ports(spec)
    if unused and {port.nodePort for port in spec.ports} <= before:
        for port in spec.ports:
            port.nodePort = 0
    unused = needs_health_check(former) and not needs_health_check(spec)
    if unused and spec.healthCheckNodePort == former.healthCheckNodePort:
        spec.healthCheckNodePort = 0
    unused = is_external(former) and not is_external(spec)
    if unused and spec.externalTrafficPolicy == former.externalTrafficPolicy:
        spec.externalTrafficPolicy = ""
    if spec.type != "LoadBalancer":
        if former.type == "LoadBalancer":
            _drop_load_balancer(spec, former)
        new.status.loadBalancer = LoadBalancerStatus()


def _drop_load_balancer(spec: ServiceSpec, former: ServiceSpec) -> None:
    if spec.allocateLoadBalancerNodePorts == former.allocateLoadBalancerNodePorts:
        spec.allocateLoadBalancerNodePorts = None
    if spec.loadBalancerClass == former.loadBalancerClass:
        spec.loadBalancerClass = None


RULES = {"services": Rules(ServiceStrategy, cells_of, FIELDS)}
