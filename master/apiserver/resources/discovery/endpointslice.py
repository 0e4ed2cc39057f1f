"""Rules of EndpointSlice. Source: pkg/apis/discovery/validation of Kubernetes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common.api import errors, names
from common.api.errors import FieldError
from common.api.types.discovery_v1 import Endpoint, EndpointPort, EndpointSlice
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy, validate_labels
from master.apiserver.resources.core.service.servicerules import PROTOCOLS
from master.apiserver.resources.lib import addresses, cells, checks
from master.apiserver.resources.lib.checks import Findings

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
ENDPOINTS_MAX, ADDRESSES_MAX, PORTS_MAX = 1000, 100, 20000


class EndpointSliceStrategy(Strategy):
    """Some of a service's backends, all of one kind of address and with the same ports."""

    generation = True

    def default(self, obj: EndpointSlice) -> None:
        """Ports are TCP and without a name."""
        for port in obj.ports:
            if port.name is None:
                port.name = ""
            port.protocol = port.protocol or "TCP"

    def validate(self, obj: EndpointSlice) -> list[FieldError]:
        """The kind of address, every port and every endpoint."""
        return errors.first(_problems(obj))

    def validate_update(self, new: EndpointSlice, old: EndpointSlice) -> list[FieldError]:
        """The kind of address never changes."""
        return list(checks.immutable("addressType", new.addressType, old.addressType))


def _problems(obj: EndpointSlice) -> Findings:
    yield from checks.one_of("addressType", obj.addressType, ADDRESS_TYPES)
    if len(obj.ports) > PORTS_MAX:
        yield errors.too_many("ports", len(obj.ports), PORTS_MAX)
    else:
        yield from _ports(obj.ports)
    if len(obj.endpoints) > ENDPOINTS_MAX:
        yield errors.too_many("endpoints", len(obj.endpoints), ENDPOINTS_MAX)
        return
    for number, endpoint in enumerate(obj.endpoints):
        yield from _endpoint(f"endpoints[{number}]", endpoint, obj.addressType)


def _ports(ports: tuple[EndpointPort, ...]) -> Findings:
    seen = set()
    for number, port in enumerate(ports):
        path, name = f"ports[{number}]", port.name or ""
        if name:
            yield from checks.named(f"{path}.name", name, names.dns_label)
        if name in seen:
            yield errors.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from checks.one_of(f"{path}.protocol", port.protocol, PROTOCOLS)
        if port.appProtocol is not None:
            yield from checks.named(f"{path}.appProtocol", port.appProtocol, names.qualified_name)


def _endpoint(path: str, endpoint: Endpoint, address_type: str) -> Findings:
    count = len(endpoint.addresses)
    if not count:
        yield errors.required(f"{path}.addresses", "must contain at least 1 address")
    elif count > ADDRESSES_MAX:
        yield errors.too_many(f"{path}.addresses", count, ADDRESSES_MAX)
    for number, text in enumerate(endpoint.addresses):
        yield from _address(f"{path}.addresses[{number}]", text, address_type)
    if endpoint.nodeName is not None:
        yield from checks.named(f"{path}.nodeName", endpoint.nodeName, names.dns_subdomain)
    if endpoint.hostname is not None:
        yield from checks.named(f"{path}.hostname", endpoint.hostname, names.dns_label)
    yield from validate_labels(endpoint.deprecatedTopology, f"{path}.deprecatedTopology")


def _address(path: str, text: str, address_type: str) -> Findings:
    if address_type == "FQDN":
        yield from checks.named(path, text.removesuffix("."), names.dns_subdomain)
        return
    address = addresses.parse(text)
    if address is not None and f"IPv{address.version}" != address_type:
        yield errors.invalid(path, text, f"must be an {address_type} address")
    yield from addresses.endpoint_ip(path, text)


def cells_of(obj: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Cells of an EndpointSlice."""
    ports = [str(port.get("port", port.get("name", "*"))) for port in obj.get("ports") or []]
    of_endpoints = [
        a for endpoint in obj.get("endpoints") or [] for a in endpoint.get("addresses", [])
    ]
    return {
        "Ports": cells.listed(ports, len(ports)) if ports else "<unset>",
        "Endpoints": cells.listed(of_endpoints, len(of_endpoints)) if of_endpoints else "<unset>",
    }


RULES = {"endpointslices.discovery.k8s.io": Rules(EndpointSliceStrategy, cells_of)}
