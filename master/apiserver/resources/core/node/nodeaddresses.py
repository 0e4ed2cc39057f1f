"""Which addresses a node may say that it has. Pure.

Other machines route pods' traffic to them, and masks of traffic are made of them: an address that
is not the machine's own harms others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from common.api import errors
from common.api.types.core_v1 import NodeAddress
from master.apiserver.resources.lib import addresses
from master.apiserver.resources.lib.checks import Findings

CHECKED = ("InternalIP", "ExternalIP")
CALLS_FROM = "wherry.dev/calls-from"
"""The annotation of a Node: the address that its machine's stream came from last."""
_BROADCAST = IPv4Address("255.255.255.255")


def validate_addresses(
    given: Iterable[NodeAddress], ranges: Sequence[tuple[str, IPv4Network]]
) -> Findings:
    """Addresses of one machine each; `ranges` are of the cluster: (whose, block).

    Loopback is one: a node on the master's own machine may reach it there. No other machine ever
    sends anything to that.
    """
    for number, one in enumerate(given):
        if one.type not in CHECKED:
            continue
        path = f"status.addresses[{number}].address"
        address = addresses.parse(one.address)
        if address is not None and address.is_loopback:
            continue
        yield from addresses.endpoint_ip(path, one.address)
        if address is None:
            continue
        if address == _BROADCAST:
            yield errors.invalid(path, one.address, "may not be the broadcast address")
        yield from _within(path, one.address, address, ranges)


def _within(
    path: str,
    text: str,
    address: IPv4Address | IPv6Address,
    ranges: Sequence[tuple[str, IPv4Network]],
) -> Findings:
    for whose, block in ranges:
        if isinstance(address, IPv4Address) and address in block:
            yield errors.invalid(path, text, f"may not be in the range of {whose} ({block})")
