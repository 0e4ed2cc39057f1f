"""The pod network of this node: routes to the other nodes' pods, and masquerading on the way out.

Pods keep their addresses within the cluster. What a pod sends out of it carries the node's address,
because nobody outside knows the way back. Only routes of our own protocol number and our own
nftables table are ever touched.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from common.runtime.offload import Offload
from common.runtime.reasons import reason
from node.network.commands import load_table, run
from node.runtime.base import SandboxFailed

log = logging.getLogger(__name__)
PROTOCOL = "87"
"""Marks a route as ours (the numbers from 5 to 99 are free; see rtnetlink(7))."""
TABLE = "ip wherry-network"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
UNREACHABLE = "unreachable"
LINK_PREFIX = "wh"
"""How the names of the links to pods begin."""


class Peer(msgspec.Struct, frozen=True):
    """Another node: the addresses of its pods, and where they are reached."""

    pod_cidr: str
    address: str


class Network(msgspec.Struct, frozen=True):
    """What the master tells of the cluster's network."""

    cluster_cidr: str = ""
    service_cidr: str = ""
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One route of ours: `unreachable`, or the rest of its line after the destination."""

    destination: str
    way: str


def wanted_routes(network: Network, node_ip: str, device: str, pod_cidr: str) -> dict[str, Route]:
    """The routes that a node needs, by destination. Pure.

    A peer that is refused has none. What is no pod of this node's, in its own block, is refused at
    once instead of being sent away by the default route. Services have a route so that a node
    without a default one may call them: the proxy leads the packet elsewhere before it leaves.
    """
    if not network.cluster_cidr:
        return {}
    routes = {pod_cidr: Route(pod_cidr, UNREACHABLE)}
    for peer in network.peers:
        if peer.pod_cidr != pod_cidr and not peer_problem(peer, network, node_ip, pod_cidr):
            routes[peer.pod_cidr] = Route(peer.pod_cidr, f"via {peer.address}")
    if network.service_cidr and device:
        services = network.service_cidr
        routes[services] = Route(services, f"dev {device} src {node_ip}")
    return routes


def peer_problem(peer: Peer, network: Network, node_ip: str, pod_cidr: str) -> str:
    """Why a peer has no route here; empty for one that has, and for this node itself.

    Both of its addresses are what a client of the API has written: nothing of it may end a kubelet,
    or take the way to something else. Pure.
    """
    if peer.pod_cidr == pod_cidr or not network.cluster_cidr:
        return ""
    try:
        block, address = IPv4Network(peer.pod_cidr), IPv4Address(peer.address)
    except ValueError:
        return "not IPv4"
    cluster = IPv4Network(network.cluster_cidr)
    if not block.subnet_of(cluster) or block == cluster:
        return f"its block is not one of {cluster}"
    if pod_cidr and block.overlaps(IPv4Network(pod_cidr)):
        return "its block is of this node's pods"
    kinds = ("unspecified", "loopback", "multicast", "link_local", "reserved")
    wrong = [kind for kind in kinds if getattr(address, f"is_{kind}")]
    if wrong:
        return f"its address is {wrong[0].replace('_', '-')}"
    if str(address) == node_ip:
        return "its address is this node's"
    taken = (network.cluster_cidr, network.service_cidr)
    if any(address in IPv4Network(cidr) for cidr in taken if cidr):
        return "its address is one of pods or services"
    return ""


def changes(wanted: Mapping[str, Route], there: Mapping[str, Route]) -> list[str]:
    """The lines for `ip -batch` that make the routes as wanted. Pure."""
    lines = [
        f"route replace {_line(route)} proto {PROTOCOL}"
        for route in wanted.values()
        if there.get(route.destination) != route
    ]
    gone = [route for destination, route in there.items() if destination not in wanted]
    return lines + [f"route del {_line(route)} proto {PROTOCOL}" for route in gone]


def _line(route: Route) -> str:
    if route.way == UNREACHABLE:
        return f"{UNREACHABLE} {route.destination}"
    return f"{route.destination} {route.way}"


def rules(network: Network, pod_cidr: str) -> str:
    """The nftables script that makes our table anew: in one step, whatever is there. Pure.

    A packet from a pod's link must have an address to which that link is the way: its own. (The
    kernel's rp_filter asks the same, unless some other setting of the machine has loosened it.)
    """
    return f"""\
table {TABLE} {{ }}
delete table {TABLE}
table {TABLE} {{
    chain sources {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{LINK_PREFIX}*" fib saddr . iif oif 0 drop
    }}
    chain postrouting {{
        type nat hook postrouting priority 101; policy accept;
        ip saddr {pod_cidr} ip daddr != {network.cluster_cidr} masquerade
    }}
}}
"""


class PodNetwork:
    """Keeps this node's routes, forwarding and rules as the cluster needs them.

    `repair` mends what else somebody may have removed of the rules; it raises SandboxFailed.
    """

    def __init__(self, node_ip: str, offload: Offload, repair: Callable[[], None]) -> None:
        self.node_ip = node_ip
        self._offload = offload
        self._repair = repair
        self._loaded = ""

    async def apply(self, network: Network, pod_cidr: str) -> None:
        """Make the kernel as `network` wants it; what is refused keeps nothing else from it.

        Raises SandboxFailed with all that was refused.
        """
        await self._offload(self._apply_now, network, pod_cidr)

    def _apply_now(self, network: Network, pod_cidr: str) -> None:
        problems = []
        parts = (
            forward,
            partial(self._load, rules(network, pod_cidr) if network.cluster_cidr else ""),
            partial(self._route, network, pod_cidr),
            self._repair,
        )
        for part in parts:
            try:
                part()
            except SandboxFailed as error:
                problems.append(str(error))
        if problems:
            raise SandboxFailed("; ".join(problems))

    def _load(self, script: str) -> None:
        if script:
            self._loaded = load_table(TABLE, script, self._loaded)

    def _route(self, network: Network, pod_cidr: str) -> None:
        problem = ""
        try:
            device = device_of(self.node_ip)
        except SandboxFailed as error:
            device, problem = "", str(error)
        wanted = wanted_routes(network, self.node_ip, device, pod_cidr)
        there = parse_routes(run(["ip", "-j", "route", "show", "proto", PROTOCOL]))
        if lines := changes(wanted, there):
            log.info("routes to pods change", extra={"count": len(lines)})
            # With -force, a line that is refused does not keep the others from being carried out.
            run(["ip", "-force", "-batch", "-"], "\n".join(lines) + "\n", lines)
        if problem:
            raise SandboxFailed(problem)


def forward() -> None:
    """Have the kernel pass packets on between pods and links. Raises SandboxFailed."""
    try:
        if FORWARDING.read_text().strip() != "1":
            FORWARDING.write_text("1")
            log.info("forwarding of IPv4 is switched on")
    except OSError as error:
        raise SandboxFailed(f"forwarding cannot be switched on: {reason(error)}") from error


def parse_routes(listed: str) -> dict[str, Route]:
    """Our routes from what `ip -j route` prints."""
    routes = {}
    for entry in json.loads(listed or "[]"):
        if entry.get("type") == UNREACHABLE:
            way = UNREACHABLE
        elif gateway := entry.get("gateway"):
            way = f"via {gateway}"
        else:
            way = f"dev {entry.get('dev')} src {entry.get('prefsrc')}"
        routes[entry["dst"]] = Route(entry["dst"], way)
    return routes


def device_of(address: str) -> str:
    """The link that has an address of this machine's. Raises SandboxFailed."""
    for link in json.loads(run(["ip", "-j", "-4", "address", "show"])):
        if any(entry["local"] == address for entry in link["addr_info"]):
            return str(link["ifname"])
    raise SandboxFailed(f"no link of this machine has the address {address}")
