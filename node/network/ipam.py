"""Addresses of pods out of a node's CIDR: pure, round robin, so that none comes back at once."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network


class NoAddress(Exception):
    """Every address of the CIDR is in use."""


class AddressPool:
    """Hands out the addresses of a CIDR but its first two and its last."""

    def __init__(self, cidr: str) -> None:
        network = IPv4Network(cidr)
        self._first = int(network.network_address) + 2
        self._count = network.num_addresses - 3
        self._next = 0

    def take(self, used: Collection[str]) -> str:
        """The next address that is not in use; raises NoAddress."""
        for step in range(self._count):
            offset = (self._next + step) % self._count
            address = str(IPv4Address(self._first + offset))
            if address not in used:
                self._next = (offset + 1) % self._count
                return address
        raise NoAddress(f"all {self._count} pod addresses of this node are in use")
