"""Spreads endpoints over slices so that a change of one endpoint is a write of one slice. Pure.

Source: KEP-752 and pkg/controller/endpointslice/reconciler of Kubernetes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from common.api.codec import json as codec
from common.api.types.discovery_v1 import Endpoint, EndpointPort, EndpointSlice
from common.client.commands import Command, Create, Delete, Update
from master.controllers.lib.resources import ENDPOINT_SLICES

SERVICE_NAME = "kubernetes.io/service-name"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
ENDPOINTS_MAX = 100
"""Endpoints a slice; small slices make small writes, and small messages to every node."""

Ports = tuple[EndpointPort, ...]
Group = tuple[str, Ports, Sequence[Endpoint]]
"""A kind of address and ports, and the endpoints that share both."""
Content = list[Endpoint]


def plan(
    existing: Sequence[EndpointSlice], wanted: Iterable[Group], template: EndpointSlice
) -> list[Command]:
    """The writes after which the slices hold just the wanted endpoints.

    `template` has the metadata of every slice. At least one slice stays or is made, so that
    readers can tell "none" from "not known yet".
    """
    slices = sorted(existing, key=lambda s: s.metadata.name)
    known: dict[tuple[str, bytes], list[EndpointSlice]] = {}
    for one in slices:
        known.setdefault(_identity(one.addressType, one.ports), []).append(one)
    kept: list[tuple[EndpointSlice, EndpointSlice]] = []
    made: deque[EndpointSlice] = deque()
    used: set[str] = set()
    for address_type, ports, endpoints in wanted:
        mine = known.get(_identity(address_type, ports), [])
        contents = _assign(mine, endpoints)
        for item, content in zip(mine, contents, strict=False):
            if content:
                used.add(item.metadata.name)
                kept.append((item, _with(template, item, address_type, ports, content)))
        for content in contents[len(mine) :]:
            made.append(_with(template, None, address_type, ports, content))
    spare = deque(one for one in slices if one.metadata.name not in used)
    if not kept and not made:
        made.append(_with(template, None, "IPv4", (), []))
    while made and spare:  # a slice that is no longer needed becomes a new one, in one write
        item, new = spare.popleft(), made.popleft()
        if item.addressType != new.addressType:
            made.appendleft(new)
            break
        kept.append((item, _with(template, item, new.addressType, new.ports, new.endpoints)))
    return [
        *[_update(new) for item, new in kept if _differs(item, new)],
        *[_create(new) for new in made],
        *[_delete(item) for item in spare],
    ]


def _assign(slices: Sequence[EndpointSlice], endpoints: Sequence[Endpoint]) -> list[Content]:
    """What each slice holds from now on; contents beyond the given slices are for new ones.

    Endpoints stay where they are. New ones go to slices that are written anyway, then to the
    fullest slice that has room for all of the rest, then to new slices.
    """
    wanted = {_key(endpoint): endpoint for endpoint in endpoints}
    contents: list[Content] = []
    for item in slices:
        keys = [_key(endpoint) for endpoint in item.endpoints]
        contents.append([wanted.pop(key) for key in keys if key in wanted])
    rest = list(wanted.values())
    for item, content in zip(slices, contents, strict=True):
        if content and list(item.endpoints) != content:
            room = ENDPOINTS_MAX - len(content)
            content += rest[:room]
            rest = rest[room:]
    while len(rest) >= ENDPOINTS_MAX:
        contents.append(rest[:ENDPOINTS_MAX])
        rest = rest[ENDPOINTS_MAX:]
    if rest:
        roomy = [c for c in contents if c and len(c) + len(rest) <= ENDPOINTS_MAX]
        if roomy:
            max(roomy, key=len).extend(rest)
        else:
            contents.append(rest)
    return contents


def _key(endpoint: Endpoint) -> tuple[str, ...]:
    """What makes an endpoint the same one, whatever its conditions are."""
    uid = endpoint.targetRef.uid if endpoint.targetRef is not None else ""
    return (uid, *endpoint.addresses)


def _identity(address_type: str, ports: Ports) -> tuple[str, bytes]:
    return address_type, codec.encode(ports)


def _with(
    template: EndpointSlice,
    found: EndpointSlice | None,
    address_type: str,
    ports: Ports,
    content: Sequence[Endpoint],
) -> EndpointSlice:
    """A slice with the template's metadata and with other content; `found` gives the identity."""
    made = codec.decode(codec.encode(template), EndpointSlice)
    made.addressType, made.ports, made.endpoints = address_type, ports, tuple(content)
    if found is not None:
        theirs = codec.decode(codec.encode(found), EndpointSlice).metadata
        theirs.labels, theirs.annotations = made.metadata.labels, made.metadata.annotations
        theirs.ownerReferences = made.metadata.ownerReferences
        made.metadata = theirs
    return made


def _differs(found: EndpointSlice, new: EndpointSlice) -> bool:
    return codec.encode(found) != codec.encode(new)


def _words(new: EndpointSlice) -> str:
    service = new.metadata.labels.get(SERVICE_NAME, "")
    return f"service {new.metadata.namespace}/{service}: {len(new.endpoints)} endpoints"


def _update(new: EndpointSlice) -> Command:
    return Update(resource=ENDPOINT_SLICES, body=new, reason=_words(new))


def _create(new: EndpointSlice) -> Command:
    namespace = new.metadata.namespace
    return Create(resource=ENDPOINT_SLICES, namespace=namespace, body=new, reason=_words(new))


def _delete(found: EndpointSlice) -> Command:
    meta = found.metadata
    return Delete(
        resource=ENDPOINT_SLICES,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        reason="no endpoint is left in it",
    )
