"""Nobody but the endpoint controllers may lead a service to a node's own address.

Whoever may write endpoints could otherwise reach what nodes offer to each other alone, with the
proxy's address as the source. The controllers write addresses of pods, which for pods on the
node's network are the node's. Source: CVE-2021-25740 and
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/.

A machine that names an address and calls from another has not shown that it is its own: it must not
keep it from those to whom it belongs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import Endpoints, NodeAddress
from common.api.types.discovery_v1 import EndpointSlice
from master.apiserver.auth.authorizers.rbac import SERVICE_ACCOUNT_PREFIX
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node.nodeaddresses import CALLS_FROM, CHECKED
from master.storage.keys import registry_prefix
from master.storage.watchcache import WatchCache

ADDRESSES_A_TURN = 5000
CONTROLLERS = frozenset(
    f"{SERVICE_ACCOUNT_PREFIX}kube-system:{name}-controller"
    for name in ("endpoint", "endpointslice", "endpointslicemirroring", "kubernetes-service")
)


class _Status(msgspec.Struct, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()


class _Metadata(msgspec.Struct, frozen=True):
    annotations: dict[str, str] = {}


class _Node(msgspec.Struct):
    """So much of a Node as is asked for here: a thousand of them are read in one turn."""

    metadata: _Metadata = _Metadata()
    status: _Status = _Status()

    def addresses(self) -> list[str]:
        """Those that are its own, as far as its machine, if it has one, has shown."""
        shown = self.metadata.annotations.get(CALLS_FROM)
        return [
            one.address
            for one in self.status.addresses
            if one.type in CHECKED and shown in (None, one.address)
        ]


class EndpointAddresses:
    """Admission of Endpoints and EndpointSlices."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Raises StatusError 422 that names each address of a node."""
        if not isinstance(new, Endpoints | EndpointSlice):
            return
        if ctx.user.user in CONTROLLERS:
            return
        known = set() if old is None else {text for _, text in _addresses(old)}
        asked = []
        for number, (path, text) in enumerate(_addresses(new)):
            if text not in known:
                asked.append((path, text))
            if number % ADDRESSES_A_TURN == ADDRESSES_A_TURN - 1:
                await asyncio.sleep(0)
        nodes = self._nodes() if asked else {}
        findings = [
            errors.invalid(path, text, f"may not be the address of a node ({nodes[text]})")
            for path, text in asked
            if text in nodes
        ]
        if findings:
            name = new.metadata.name
            raise errors.invalid_object(target.resource.group, target.resource.kind, name, findings)

    def _nodes(self) -> dict[str, str]:
        """The nodes' names by their addresses."""
        return {
            address: entry.name
            for entry in self._cache.list(registry_prefix("nodes"))
            for address in codec.decode(entry.data, _Node).addresses()
        }


def _addresses(obj: Endpoints | EndpointSlice) -> Iterator[tuple[str, str]]:
    """(field path, address) of every endpoint."""
    if isinstance(obj, EndpointSlice):
        for number, endpoint in enumerate(obj.endpoints):
            for index, text in enumerate(endpoint.addresses):
                yield f"endpoints[{number}].addresses[{index}]", text
        return
    for number, subset in enumerate(obj.subsets):
        for name in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(getattr(subset, name)):
                yield f"subsets[{number}].{name}[{index}].ip", address.ip
