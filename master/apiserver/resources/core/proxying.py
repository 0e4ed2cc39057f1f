"""What the name in a path with `/proxy` means: a scheme, an object, and a port of it. Pure.

Source: https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
(manually constructing apiserver proxy URLs)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from common.api import errors
from common.api.types.core_v1 import EndpointAddress, Endpoints, Pod, Service
from master.apiserver.resources.core.pod.commandoptions import PORT_MAX

HTTP, HTTPS = "http", "https"
_DEFAULT_PORTS = {HTTP: 80, HTTPS: 443}


class Place(NamedTuple):
    """What is asked for. The port may be a number or a name, or be missing."""

    text: str
    scheme: str
    name: str
    port: str


def place(text: str, kind: str) -> Place:
    """NAME, NAME:PORT or SCHEME:NAME:PORT of a pod or a service; raises StatusError 400."""
    match text.split(":"):
        case [name]:
            scheme, port = "", ""
        case [name, port]:
            scheme = ""
        case [scheme, name, port]:
            pass
        case _:
            scheme, name, port = "", "", ""
    if not name or scheme not in ("", *_DEFAULT_PORTS):
        raise errors.bad_request(f'invalid {kind} request "{text}"')
    return Place(text, scheme or HTTP, name, port)


def port_of_pod(asked: Place, pod: Pod) -> int:
    """The port that is asked for, or the first that a container has; raises StatusError 400."""
    if not asked.port:
        ports = (port.containerPort for c in pod.spec.containers for port in c.ports)
        return next(ports, _DEFAULT_PORTS[asked.scheme])
    number = _number(asked.port)
    if number is None or not 0 < number <= PORT_MAX:
        raise errors.bad_request(f'"{asked.port}" is not the number of a port of a pod')
    return number


def address_of(pod: Pod) -> str:
    """The address of a pod; raises StatusError 400 while it has none."""
    if not (pod.status.podIP and pod.spec.nodeName):
        raise errors.bad_request(f'pod "{pod.metadata.name}" has no address')
    return pod.status.podIP


def needs_service(asked: Place) -> bool:
    """Whether the name of the port is known by the service alone."""
    return _number(asked.port) is not None


def port_name(asked: Place, service: Service) -> str:
    """The name of the service's port with the number that is asked for; raises StatusError 503."""
    number = _number(asked.port)
    for port in service.spec.ports:
        if port.port == number:
            return port.name
    text = f'no service port {number} found for service "{asked.name}"'
    raise errors.unavailable(text)


def candidates(
    endpoints: Endpoints, name: str, first: float
) -> Iterator[tuple[EndpointAddress, int]]:
    """Ready addresses with a port of that name; `first`, of 0 to 1, says which comes first."""
    found = [
        (address, port.port)
        for subset in endpoints.subsets
        for port in subset.ports
        if port.name == name
        for address in subset.addresses
    ]
    start = int(first * len(found))
    yield from found[start:]
    yield from found[:start]


def is_of(pod: Pod, address: EndpointAddress) -> bool:
    """Whether an endpoint is that pod's, so that it may be dialed.

    Whoever may write Endpoints must reach no other address by it.
    """
    target = address.targetRef
    own = {each.ip for each in pod.status.podIPs}
    uid = target.uid if target is not None else ""
    return bool(pod.spec.nodeName) and uid in ("", pod.metadata.uid) and address.ip in own


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
