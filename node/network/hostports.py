"""Host ports: a port of the machine that leads to a port of one of its pods, by nftables.

A port is taken on one address of the machine, or on all of them. The table is made anew, in one
step, from what is written down of the sandboxes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from node.network.commands import load_table
from node.network.routes import LINK_PREFIX
from node.runtime.base import HostPort, SandboxFailed

TABLE = "ip wherry-hostports"


@dataclass(frozen=True, slots=True)
class PortsOfPod:
    """What a pod has of the machine's ports, and where they lead to."""

    pod: str
    """NAMESPACE/NAME"""
    address: str
    ports: Sequence[HostPort]


def conflict(wanted: PortsOfPod, others: Iterable[PortsOfPod]) -> str:
    """Which port of a pod another one has; empty for none. Pure."""
    for other in others:
        for port in wanted.ports:
            if any(_overlap(port, taken) for taken in other.ports):
                return f"host port {port.port}/{port.protocol} is taken by pod {other.pod}"
    return ""


def _overlap(one: HostPort, other: HostPort) -> bool:
    same = (one.protocol, one.port) == (other.protocol, other.port)
    return same and (not one.address or not other.address or one.address == other.address)


def rules(pods: Sequence[PortsOfPod]) -> str:
    """The nftables script that makes our table anew. Pure.

    Programs of the machine reach the ports at 127.0.0.1, too; so packets to loopback addresses may
    be routed over the links of these pods, and what comes from a pod to one is dropped first.
    """
    everywhere: dict[str, str] = {}
    somewhere: dict[str, str] = {}
    for pod in pods:
        for port in pod.ports:
            key, to = f"{port.protocol.lower()} . {port.port}", f"{pod.address} . {port.pod_port}"
            if port.address:
                somewhere[f"{port.address} . {key}"] = to
            else:
                everywhere[key] = to
    hairpin = {f"{pod.address} . {pod.address}": "" for pod in pods}
    addresses = {pod.address: "" for pod in pods}
    called = "meta l4proto . th dport"
    return f"""\
table {TABLE} {{ }}
delete table {TABLE}
table {TABLE} {{
    map somewhere {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
{_elements(somewhere)}    }}
    map everywhere {{
        type inet_proto . inet_service : ipv4_addr . inet_service
{_elements(everywhere)}    }}
    set hairpin {{
        type ipv4_addr . ipv4_addr
{_elements(hairpin)}    }}
    set pods {{
        type ipv4_addr
{_elements(addresses)}    }}
    chain guard {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{LINK_PREFIX}*" ip daddr 127.0.0.0/8 drop
    }}
    chain lead {{
        dnat ip to ip daddr . {called} map @somewhere
        fib daddr type local dnat ip to {called} map @everywhere
    }}
    chain prerouting {{
        type nat hook prerouting priority -101; policy accept;
        jump lead
    }}
    chain output {{
        type nat hook output priority -101; policy accept;
        jump lead
    }}
    chain postrouting {{
        type nat hook postrouting priority 99; policy accept;
        ct status dnat ip saddr . ip daddr @hairpin masquerade
        ct status dnat ip saddr 127.0.0.0/8 ip daddr @pods masquerade
    }}
}}
"""


def _elements(elements: Mapping[str, str]) -> str:
    if not elements:
        return ""
    listed = ", ".join(f"{key} : {to}" if to else key for key, to in sorted(elements.items()))
    return f"        elements = {{ {listed} }}\n"


class HostPorts:
    """Keeps the table as the sandboxes of this machine want it. Blocking: runs in an Offload.

    `written` answers what the sandboxes that are written down have of the ports, by the pod's uid.
    """

    def __init__(self, written: Callable[[], Mapping[str, PortsOfPod]]) -> None:
        self._written = written
        self._claimed: dict[str, PortsOfPod] = {}
        """Of pods whose sandboxes may not be written down yet."""
        self._loaded = ""
        self._lock = threading.Lock()

    def claim(self, uid: str, wanted: PortsOfPod) -> None:
        """Lead ports to a pod. Raises SandboxFailed, also when another pod has one of them."""
        with self._lock:
            others = {**self._written(), **self._claimed}
            others.pop(uid, None)
            if taken := conflict(wanted, others.values()):
                raise SandboxFailed(taken)
            self._claimed[uid] = wanted
            self._load()

    def has(self, uid: str) -> bool:
        """Whether a pod has claimed ports since this program was started."""
        return uid in self._claimed

    def release(self, uid: str) -> None:
        """The ports of a pod whose sandbox is gone lead nowhere. Raises SandboxFailed."""
        with self._lock:
            self._claimed.pop(uid, None)
            self._load()

    def apply(self) -> None:
        """Make the table as it should be, whoever has changed it. Raises SandboxFailed."""
        with self._lock:
            self._load()

    def _load(self) -> None:
        pods = {**self._written(), **self._claimed}
        script = rules([pod for _, pod in sorted(pods.items())])
        self._loaded = load_table(TABLE, script, self._loaded)
