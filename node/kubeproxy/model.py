"""Where does a packet go, and why? The rules in words, for people and for tests. Pure.

The contract suite asks this model and, with real packets, the kernel: both must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from node.kubeproxy.table import Endpoint, NodeFacts, ServicePort, Table

Fate = Literal["endpoints", "refused", "dropped", "untouched"]
"""Led to one of some endpoints; refused at once; dropped in silence; no business of ours."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What happens to a new connection."""

    fate: Fate
    why: tuple[str, ...]
    service: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    masqueraded: bool = False
    """Whether the endpoint sees an address of this node in place of the client's."""
    affinity_seconds: int = 0


@dataclass(frozen=True, slots=True)
class _Client:
    address: str
    in_cluster: bool
    on_node: bool

    @property
    def words(self) -> str:
        if self.on_node:
            return f"{self.address} is this node"
        return f"{self.address} is " + ("a pod" if self.in_cluster else "outside of the cluster")


def route(table: Table, client: str, address: str, port: int, protocol: str) -> Answer:
    """Where a new connection from `client` to an address and port goes, on this node."""
    node = table.node
    source = _client(client, node)
    places = _places(table, address, port, protocol)
    if not places:
        return _nobody(node, address, port, protocol)
    place, kind = places[0]
    if not place.endpoints:
        why = f"service {place.title} has no endpoint that is ready"
        return Answer("refused", (_matched(kind, place), why), place.title)
    if kind == "cluster IP":
        return _internal(place, source, node)
    return _external(place, source, kind)


def _places(table: Table, address: str, port: int, protocol: str) -> list[tuple[ServicePort, str]]:
    """The service ports that a destination names, in the order in which rules ask."""
    cluster, external, node_ports = [], [], []
    for key in sorted(table.services):
        for one in table.ports(key):
            if one.protocol != protocol:
                continue
            if (one.cluster_ip, one.port) == (address, port):
                cluster.append((one, "cluster IP"))
            if address in one.external_ips and one.port == port:
                external.append((one, "external IP"))
            if address in table.node.addresses and one.node_port == port:
                node_ports.append((one, "node port"))
    return cluster + external + node_ports


def _client(address: str, node: NodeFacts) -> _Client:
    parsed = IPv4Address(address)
    on_node = address in node.addresses or parsed.is_loopback
    return _Client(address, parsed in IPv4Network(node.cluster_cidr), on_node)


def _matched(kind: str, found: ServicePort) -> str:
    return f"the destination is the {kind} of service {found.title}"


def _internal(found: ServicePort, source: _Client, node: NodeFacts) -> Answer:
    why = [_matched("cluster IP", found)]
    endpoints = found.endpoints
    if found.internal_local:
        endpoints = found.local_endpoints
        why.append(f"internalTrafficPolicy Local: only endpoints on node {node.name}")
    if not endpoints:
        return Answer("dropped", (*why, "there is none here"), found.title)
    masqueraded = not source.in_cluster
    if masqueraded:
        why.append(f"{source.words}: it is masqueraded, so that answers come back this way")
    return _to(found, endpoints, why, source, masqueraded=masqueraded)


def _external(found: ServicePort, source: _Client, kind: str) -> Answer:
    why = [_matched(kind, found)]
    if not found.external_local:
        why.append("externalTrafficPolicy Cluster: any endpoint, masqueraded")
        return _to(found, found.endpoints, why, source, masqueraded=True)
    if source.in_cluster:
        why.append(f"externalTrafficPolicy Local, but {source.words}: any endpoint")
        return _to(found, found.endpoints, why, source, masqueraded=False)
    if source.on_node:
        why.append(f"externalTrafficPolicy Local, but {source.words}: any endpoint, masqueraded")
        return _to(found, found.endpoints, why, source, masqueraded=True)
    why.append("externalTrafficPolicy Local: only endpoints on this node, client kept")
    if not found.local_endpoints:
        return Answer("dropped", (*why, "there is none here"), found.title)
    return _to(found, found.local_endpoints, why, source, masqueraded=False)


def _to(
    found: ServicePort,
    endpoints: tuple[Endpoint, ...],
    why: list[str],
    source: _Client,
    *,
    masqueraded: bool,
) -> Answer:
    count = len(endpoints)
    chosen = f"one of {count} endpoints in turn" if count > 1 else "its only endpoint"
    if found.affinity_seconds:
        why.append(f"ClientIP affinity: the same endpoint for {found.affinity_seconds} s")
    return Answer(
        "endpoints",
        (*why, f"it goes to {chosen}"),
        found.title,
        endpoints,
        masqueraded or [e.address for e in endpoints] == [source.address],
        found.affinity_seconds,
    )


def _nobody(node: NodeFacts, address: str, port: int, protocol: str) -> Answer:
    """A destination that no service has."""
    if IPv4Address(address) in IPv4Network(node.service_cidr):
        why = f"{address} is in the range of services, but no service has {port}/{protocol} there"
        return Answer("refused", (why,))
    return Answer("untouched", (f"no service has {address}:{port}/{protocol}",))
