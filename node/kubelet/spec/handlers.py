"""What probes and hooks share: ports and requests from the API's actions. Pure."""

from __future__ import annotations

from common.api.types.core_v1 import Container, HTTPGetAction
from node.probes.base import HttpRequest


class UnknownPort(Exception):
    """An action names a port that the container does not have."""


def port_of(port: int | str, container: Container) -> int:
    """The number of a port that may be a name. Raises UnknownPort."""
    if isinstance(port, int):
        number = port
    else:
        named = next((p.containerPort for p in container.ports if p.name == port), None)
        number = named or (int(port) if port.isdigit() else 0)
    if not 0 < number < 65536:
        raise UnknownPort(f"invalid port number: {port}")
    return number


def http_request(
    action: HTTPGetAction, container: Container, address: str, agent: str
) -> HttpRequest:
    """The request of an httpGet; without a host it goes to the pod. Raises UnknownPort."""
    return HttpRequest(
        scheme=action.scheme.lower() or "http",
        host=action.host or address,
        port=port_of(action.port, container),
        path=action.path,
        headers=[(header.name, header.value) for header in action.httpHeaders],
        agent=agent,
    )
