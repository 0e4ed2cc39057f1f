"""Leases of nodes show heartbeats that are never written: renewTime is overlaid on read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common.api import times
from common.api.codec import json as codec
from common.api.resource import Resource

_NODE_LEASE = b'"namespace":"kube-node-lease"'


class LeaseView:
    """coordination.k8s.io/v1 Lease with the node heartbeats of this master."""

    def __init__(self, source: Resource, heartbeats: Mapping[str, float]) -> None:
        self.source = source
        self._heartbeats = heartbeats

    def outbound(self, data: bytes) -> bytes:
        """A stored Lease with the time of the node's last heartbeat."""
        if _NODE_LEASE not in data:
            return data
        plain: dict[str, Any] = codec.decode_plain(data)
        heard = self._heartbeats.get(plain["metadata"]["name"])
        if heard is None:
            return data
        renewed = times.to_micro_time(datetime.fromtimestamp(heard, UTC))
        plain.setdefault("spec", {})["renewTime"] = renewed
        return codec.encode(plain)

    def inbound(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Leases are written as they are."""
        return plain
