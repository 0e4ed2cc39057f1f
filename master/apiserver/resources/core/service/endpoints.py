"""Rules of Endpoints. Source: pkg/apis/core/validation of Kubernetes (ValidateEndpoints)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.core_v1 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.core.service.servicerules import PROTOCOLS
from master.apiserver.resources.lib import addresses, cells, checks
from master.apiserver.resources.lib.checks import Findings

SUBSETS_MAX = 128
"""Each becomes an EndpointSlice of its own, at least."""


class EndpointsStrategy(Strategy):
    """Addresses and ports of a service's backends, all in one object."""

    def default(self, obj: Endpoints) -> None:
        """Ports are TCP."""
        for subset in obj.subsets:
            for port in subset.ports:
                port.protocol = port.protocol or "TCP"

    def validate(self, obj: Endpoints) -> list[FieldError]:
        """Every subset, address and port."""
        subsets = (_subset(f"subsets[{n}]", subset) for n, subset in enumerate(obj.subsets))
        few = checks.few("subsets", obj.subsets, SUBSETS_MAX)
        return errors.first(chain(few, chain.from_iterable(subsets)))


def _subset(path: str, subset: EndpointSubset) -> Findings:
    if not subset.addresses and not subset.notReadyAddresses:
        yield errors.required(path, "must specify `addresses` or `notReadyAddresses`")
    for name in ("addresses", "notReadyAddresses"):
        for number, address in enumerate(getattr(subset, name)):
            yield from _address(f"{path}.{name}[{number}]", address)
    for number, port in enumerate(subset.ports):
        yield from _port(f"{path}.ports[{number}]", port, named=len(subset.ports) > 1)


def _address(path: str, address: EndpointAddress) -> Findings:
    if address.hostname:
        yield from checks.named(f"{path}.hostname", address.hostname, names.dns_label)
    if address.nodeName is not None:
        yield from checks.named(f"{path}.nodeName", address.nodeName, names.dns_subdomain)
    yield from addresses.endpoint_ip(f"{path}.ip", address.ip)


def _port(path: str, port: EndpointPort, *, named: bool) -> Findings:
    if port.name:
        yield from checks.named(f"{path}.name", port.name, names.dns_label)
    elif named:
        yield errors.required(f"{path}.name")
    yield from checks.between(f"{path}.port", port.port, 1, 65535)
    yield from checks.one_of(f"{path}.protocol", port.protocol, PROTOCOLS)
    if port.appProtocol is not None:
        yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of Endpoints."""
    subsets = obj.get("subsets", [])
    count = sum(len(s.get("addresses", [])) * max(1, len(s.get("ports", []))) for s in subsets)
    return {"Endpoints": cells.listed(_endpoints(subsets), count)}


def _endpoints(subsets: list[dict[str, Any]]) -> Iterator[str]:
    for subset in subsets:
        for port in subset.get("ports", []) or [None]:
            for address in subset.get("addresses", []):
                ip = address.get("ip", "")
                yield ip if port is None else _host_port(ip, port.get("port", 0))


def _host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


RULES = {"endpoints": Rules(EndpointsStrategy, cells_of)}
