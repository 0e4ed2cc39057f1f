"""The IPv4 addresses of this machine, asked without netlink: a hardened service may not use it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

_SIOCGIFCONF = 0x8912
_REQUEST = struct.Struct("16sLLHBBB0L")
"""struct ifreq of netdevice(7): a name, and as much as its largest member takes."""
_ADDRESS_OFFSET = 20
_INTERFACES_MAX = 1024
ENGINES = ("podman", "cni", "docker", "virbr", "br-", "veth")
"""How the names of links to containers and guests begin: no other machine is there."""


class Interface(NamedTuple):
    """One address, and the name of the interface that has it."""

    name: str
    address: str


def interfaces() -> list[Interface]:
    """Every address of every interface, in the kernel's order."""
    buffer = array.array("B", bytes(_REQUEST.size * _INTERFACES_MAX))
    asked = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answered = fcntl.ioctl(probe, _SIOCGIFCONF, asked)
    length = struct.unpack("iL", answered)[0]
    data = buffer.tobytes()[:length]
    entries = [data[i : i + _REQUEST.size] for i in range(0, length, _REQUEST.size)]
    return [
        Interface(
            entry[:16].split(b"\0", 1)[0].decode("utf-8", "replace"),
            socket.inet_ntoa(entry[_ADDRESS_OFFSET : _ADDRESS_OFFSET + 4]),
        )
        for entry in entries
    ]


def reachable(found: Iterable[Interface]) -> list[Interface]:
    """Those by which other machines may reach this one."""
    return [
        each
        for each in found
        if not each.name.startswith(ENGINES)
        and not IPv4Address(each.address).is_loopback
        and not IPv4Address(each.address).is_link_local
    ]


def routed_address() -> str:
    """The address of the interface that leads to other networks; '' without a default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
