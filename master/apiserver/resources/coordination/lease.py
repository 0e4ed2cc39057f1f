"""Leases of nodes show heartbeats that are never written: renewTime is overlaid on read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common.api import errors, times
from common.api.codec import json as codec
from common.api.errors import FieldError
from common.api.resource import Resource
from common.api.types.coordination_v1 import Lease
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy
from master.apiserver.resources.lib.checks import nonnegative

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
        stored = plain.get("spec", {}).get("renewTime")
        if stored and times.parse(stored).timestamp() > heard:
            return data  # another agent runs the node now
        renewed = times.to_micro_time(datetime.fromtimestamp(heard, UTC))
        plain.setdefault("spec", {})["renewTime"] = renewed
        return codec.encode(plain)

    def inbound(self, plain: dict[str, Any]) -> dict[str, Any]:
        """Leases are written as they are."""
        return plain

    def selector(self, text: str) -> str:
        """The fields are the same."""
        return text

    def check(self, new: Lease, old: Lease | None) -> None:
        """The rules are those of the kind."""


class LeaseStrategy(Strategy):
    """Times and counts of a lease. Source: k8s.io/kubernetes pkg/apis/coordination/validation."""

    def default(self, obj: Lease) -> None:
        """Leaders are not chosen by the server: what asks for that is not stored."""
        obj.spec.strategy = obj.spec.preferredHolder = None

    def validate(self, obj: Lease) -> list[FieldError]:
        """A duration above zero, transitions of at least zero."""
        spec, findings = obj.spec, []
        if spec.leaseDurationSeconds is not None and spec.leaseDurationSeconds <= 0:
            path = "spec.leaseDurationSeconds"
            findings.append(
                errors.invalid(path, spec.leaseDurationSeconds, "must be greater than 0")
            )
        return [*findings, *nonnegative("spec.leaseTransitions", spec.leaseTransitions)]


RULES = {"leases.coordination.k8s.io": Rules(LeaseStrategy)}
