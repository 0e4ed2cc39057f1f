"""Addresses of pods out of a node's CIDR. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network


class NoAddress(Exception):
    """Every address of the CIDR is in use."""


class AddressPool:
    """The addresses of a CIDR but its first two and its last."""

    def __init__(self, cidr: str) -> None:
        """Raises ValueError for what is no block of IPv4."""
        network = IPv4Network(cidr)
        self._first = int(network.network_address) + 2
        self._count = network.num_addresses - 3

    def take(self, used: Collection[str], after: str = "") -> str:
        """The next address behind `after`, round and round, that is not in use. Raises NoAddress.

        With the last one that was given as `after`, none that came free is used again at once.
        """
        begin = int(IPv4Address(after)) - self._first + 1 if after else 0
        for step in range(self._count):
            address = str(IPv4Address(self._first + (begin + step) % self._count))
            if address not in used:
                return address
        raise NoAddress(f"all {self._count} pod addresses of this node are in use")
