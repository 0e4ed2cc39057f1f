"""The rules that one service needs, as pieces that a plan can compare. Pure.

How a packet goes: the base chain looks its destination up in one of three maps (cluster IPs,
external IPs, node ports), whose verdict leads to a chain of the service; that chain picks an
endpoint by round robin: k rules, each of which takes every k-th packet that reaches it. That is
exact, and linear to load (anonymous maps are quadratic). With affinity, an endpoint has a chain,
and a set of the clients that it has: they survive every change of the rules around them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from node.kubeproxy.table import Endpoint, NodeFacts, ServicePort

TABLE = "ip wherry-proxy"
MARK = "0x4000"
"""The bit of a packet's mark that asks for masquerading."""
AFFINITY_CLIENTS_MAX = 65535
"""Clients that one endpoint remembers; the table cannot grow beyond it."""
MAPS = {
    "services": "type ipv4_addr . inet_proto . inet_service : verdict",
    "externals": "type ipv4_addr . inet_proto . inet_service : verdict",
    "nodeports": "type inet_proto . inet_service : verdict",
}
SETS = {
    "refused": "type ipv4_addr . inet_proto . inet_service",
    "refused_ports": "type inet_proto . inet_service",
    "hairpin": "type ipv4_addr . ipv4_addr",
}
Element = tuple[str, str]
"""(map or set, key)."""
Rules = tuple[str, ...]
_Verdict = Callable[[Endpoint], str]


@dataclass(frozen=True, slots=True)
class Flow:
    """UDP flows to a destination that lead to an endpoint; '' for those that lead nowhere."""

    address: str
    """'' for a port of the node."""
    port: int
    endpoint: str


@dataclass(slots=True)
class Piece:
    """What one service has in the kernel."""

    chains: dict[str, Rules] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[Element, str] = field(default_factory=dict)
    """The verdict of a map's key; '' for an element of a set."""
    flows: frozenset[Flow] = frozenset()


def base(node: NodeFacts) -> dict[str, Rules]:
    """The chains that every packet passes."""
    cluster, services = node.cluster_cidr, node.service_cidr
    refuse = (
        "ct state new ip daddr . meta l4proto . th dport @refused goto refuse",
        f"ct state new ip daddr {services} meta l4proto {{ tcp, udp }} goto refuse",
    )
    return {
        "dispatch": (
            f"ip daddr {services} ip saddr != {cluster} meta mark set meta mark or {MARK}",
            "ip daddr . meta l4proto . th dport vmap @services",
            "ip daddr . meta l4proto . th dport vmap @externals",
            "fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @nodeports",
        ),
        "prerouting": ("jump dispatch",),
        "output": ("jump dispatch",),
        "postrouting": (
            f"meta mark and {MARK} == {MARK} meta mark set meta mark xor {MARK} masquerade",
            "ct status dnat ip saddr . ip daddr @hairpin masquerade",
        ),
        "filter_input": (
            "ct state new fib daddr type local ip daddr != 127.0.0.0/8 "
            "meta l4proto . th dport @refused_ports goto refuse",
            *refuse,
        ),
        "filter_forward": refuse,
        "filter_output": refuse,
        # The kernel sends few ICMP errors a second: a reset comes at once, always.
        "refuse": (
            "meta l4proto tcp reject with tcp reset",
            "reject with icmp port-unreachable",
        ),
    }


HOOKS = {
    "dispatch": "",
    "refuse": "",
    "prerouting": "type nat hook prerouting priority -100; policy accept;",
    "output": "type nat hook output priority -100; policy accept;",
    "postrouting": "type nat hook postrouting priority 100; policy accept;",
    "filter_input": "type filter hook input priority 0; policy accept;",
    "filter_forward": "type filter hook forward priority 0; policy accept;",
    "filter_output": "type filter hook output priority 0; policy accept;",
}


def piece(ports: Iterable[ServicePort], node: NodeFacts) -> Piece:
    """Everything that the ports of one service need."""
    made = Piece()
    for port in ports:
        if port.endpoints:
            _served(made, port, node)
        else:
            _refused(made, port)
    return made


def _served(made: Piece, port: ServicePort, node: NodeFacts) -> None:
    """A port with endpoints."""
    digest = _digest(port)
    everywhere, here = f"c_{digest}", f"l_{digest}"
    internal = _destination(port.internal_local, port, everywhere, here)
    made.elements["services", _key(port.cluster_ip, port)] = internal
    outside = bool(port.external_ips or port.node_port)
    if outside:
        made.chains[f"x_{digest}"] = _external(port, node, everywhere, here)
        for address in port.external_ips:
            made.elements["externals", _key(address, port)] = f"goto x_{digest}"
        if port.node_port:
            key = f"{port.protocol} . {port.node_port}"
            made.elements["nodeports", key] = f"goto x_{digest}"
    if internal == f"goto {everywhere}" or outside:
        _choice(made, everywhere, port, port.endpoints)
    uses_local = port.internal_local or (outside and port.external_local)
    if uses_local and port.local_endpoints:
        _choice(made, here, port, port.local_endpoints)
    usable = sorted({*port.endpoints, *port.local_endpoints})
    for endpoint in usable:
        if endpoint.local:
            made.elements["hairpin", f"{endpoint.address} . {endpoint.address}"] = ""
    if port.protocol == "udp":
        made.flows |= frozenset(_flows(port, [endpoint.address for endpoint in usable]))


def _destination(local: bool, port: ServicePort, everywhere: str, here: str) -> str:
    """The verdict of a policy: to all endpoints, to those of this node, or nowhere."""
    if not local:
        return f"goto {everywhere}"
    return f"goto {here}" if port.local_endpoints else "drop"


def _external(port: ServicePort, node: NodeFacts, everywhere: str, here: str) -> Rules:
    """From outside: by way of this node (masqueraded), or only to what runs here (not)."""
    if not port.external_local:
        return (f"meta mark set meta mark or {MARK} goto {everywhere}",)
    return (
        f"ip saddr {node.cluster_cidr} goto {everywhere}",
        f"fib saddr type local meta mark set meta mark or {MARK} goto {everywhere}",
        _destination(True, port, everywhere, here),
    )


def _choice(made: Piece, chain: str, port: ServicePort, endpoints: Sequence[Endpoint]) -> None:
    """A chain that picks one of some endpoints."""
    if not port.affinity_seconds:
        made.chains[chain] = tuple(_round_robin(endpoints, _dnat(port)))
        return
    digest, rules = _digest(port), []
    for endpoint in endpoints:
        name = _endpoint_name(digest, endpoint)
        clients = f"a_{name}_{port.affinity_seconds}"
        made.sets[clients] = (
            f"type ipv4_addr; flags dynamic,timeout; timeout {port.affinity_seconds}s; "
            f"size {AFFINITY_CLIENTS_MAX};"
        )
        made.chains[f"e_{name}"] = (
            f"update @{clients} {{ ip saddr }}",
            _dnat(port)(endpoint),
        )
        rules.append(f"ip saddr @{clients} goto e_{name}")
    rules += _round_robin(endpoints, lambda e: f"goto e_{_endpoint_name(digest, e)}")
    made.chains[chain] = tuple(rules)


def _round_robin(endpoints: Sequence[Endpoint], verdict: _Verdict) -> Iterator[str]:
    """Each rule takes its share of what the rules before it have left."""
    for left, endpoint in zip(range(len(endpoints), 0, -1), endpoints, strict=True):
        share = f"numgen inc mod {left} < 1 " if left > 1 else ""
        yield share + verdict(endpoint)


def _dnat(port: ServicePort) -> _Verdict:
    return lambda e: f"meta l4proto {port.protocol} dnat to {e.address}:{e.port}"


def _refused(made: Piece, port: ServicePort) -> None:
    """A port without endpoints: its clients are told at once."""
    for address in (port.cluster_ip, *port.external_ips):
        made.elements["refused", _key(address, port)] = ""
    if port.node_port:
        made.elements["refused_ports", f"{port.protocol} . {port.node_port}"] = ""
    if port.protocol == "udp":
        made.flows |= frozenset(_flows(port, [""]))


def _flows(port: ServicePort, endpoints: Iterable[str]) -> Iterator[Flow]:
    for endpoint in endpoints:
        for address in (port.cluster_ip, *port.external_ips):
            yield Flow(address, port.port, endpoint)
        if port.node_port:
            yield Flow("", port.node_port, endpoint)


def _key(address: str, port: ServicePort) -> str:
    return f"{address} . {port.protocol} . {port.port}"


def _digest(port: ServicePort) -> str:
    """A name for the chains of a port: short, and the same after every restart."""
    return hashlib.sha256(port.title.encode()).hexdigest()[:16]


def _endpoint_name(digest: str, endpoint: Endpoint) -> str:
    return f"{digest}_{endpoint.address}_{endpoint.port}"
