"""Rules of Node; a node's pod CIDR is allocated in the transaction that creates it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, ip_network
from itertools import chain
from typing import Self

from common.api import errors, times
from common.api.errors import FieldError
from common.api.fields import Field
from common.api.resource import Resource
from common.api.types import Quantity
from common.api.types.core_v1 import Node, NodeStatus, Taint
from common.api.wellknown import NOT_READY
from common.runtime.clock import Clock
from common.security.csr import NEXT_CERTIFICATE, NODE_CERTIFICATE
from master.apiserver.auth.trust import REJOIN
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Settings, Strategy
from master.apiserver.resources.core.node.nodeaddresses import validate_addresses
from master.apiserver.resources.core.node.nodecells import cells_of
from master.apiserver.resources.core.pod.container.resources import is_extended, validate_amount
from master.apiserver.resources.lib.checks import Findings, few, one_of
from master.storage.keys import allocation_key
from master.storage.store import Allocation

FIELDS = {"spec.unschedulable": Field("false")}

POOL = "podcidrs"
CERTIFICATES = "nodecertificates"
_SERIAL = re.compile("[0-9a-f]{1,40}")
NODE_PREFIX_LENGTH = 24
FULL_SECONDS = 10.0
TAINTS_MAX = 128
"""Each is compared with every toleration of every pod."""
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class NodeStrategy(Strategy):
    """A new node is not ready, and owns a /24 of the cluster's pod addresses."""

    def __init__(
        self, resource: Resource, *, cluster_cidr: str, service_cidr: str, clock: Clock
    ) -> None:
        super().__init__(resource)
        self._ranges = (
            ("pods", IPv4Network(cluster_cidr)),
            ("services", IPv4Network(service_cidr)),
        )
        self._cidrs = [
            str(cidr) for cidr in IPv4Network(cluster_cidr).subnets(new_prefix=NODE_PREFIX_LENGTH)
        ]
        self._turn = 0
        self._full_until = 0.0
        """Until then no block is looked for, in monotonic seconds: none was free a moment ago."""
        self._clock = clock

    @classmethod
    def of(cls, resource: Resource, settings: Settings) -> Self:
        """With what its rules depend on."""
        return cls(
            resource,
            cluster_cidr=settings.cluster_cidr,
            service_cidr=settings.service_cidr,
            clock=settings.clock,
        )

    def prepare_create(self, obj: Node) -> None:
        """The not-ready taint keeps pods away until the node lifecycle has seen it Ready.

        Raises StatusError 422 for addresses that no machine has.
        """
        findings = errors.first(validate_addresses(obj.status.addresses, self._ranges))
        if findings:
            raise errors.invalid_object("", "Node", obj.metadata.name, findings)
        if not any(taint.key == NOT_READY for taint in obj.spec.taints):
            taint = Taint(
                key=NOT_READY, effect="NoSchedule", timeAdded=times.to_time(self._clock.now())
            )
            obj.spec.taints = (*obj.spec.taints, taint)
        self._stamp(obj.spec.taints, ())

    def prepare_update(self, new: Node, old: Node) -> None:
        """A taint that drives pods out keeps the time from which their tolerations count."""
        super().prepare_update(new, old)
        self._stamp(new.spec.taints, old.spec.taints)

    def prepare_status_update(self, new: Node, old: Node) -> None:
        """What is written of a device's capacity alone can be given to pods, too."""
        super().prepare_status_update(new, old)
        before, status = old.status, new.status
        for name in filter(is_extended, {*before.capacity, *status.capacity}):
            if status.allocatable.get(name) != before.allocatable.get(name):
                continue
            if name not in status.capacity:
                status.allocatable.pop(name, None)
            elif status.capacity[name] != before.capacity.get(name):
                status.allocatable[name] = status.capacity[name]

    def _stamp(self, taints: Iterable[Taint], former: Iterable[Taint]) -> None:
        """Add the time to taints that need one and were written without it, as by kubectl."""
        known = {(t.key, t.value, t.effect): t.timeAdded for t in former}
        for taint in taints:
            if taint.effect == "NoExecute" and taint.timeAdded is None:
                since = known.get((taint.key, taint.value, taint.effect))
                taint.timeAdded = since or times.to_time(self._clock.now())

    def default(self, obj: Node) -> None:
        """Allocatable is the capacity where the kubelet reserves nothing; podCIDR, where it is
        set, is the first of podCIDRs."""
        spec = obj.spec
        if spec.podCIDR and spec.podCIDRs[:1] != (spec.podCIDR,):
            spec.podCIDRs = (spec.podCIDR,)
        elif spec.podCIDRs:
            spec.podCIDR = spec.podCIDRs[0]
        if not obj.status.allocatable:
            obj.status.allocatable = dict(obj.status.capacity)

    def gives(self, cidr: str) -> bool:
        """Whether it is one of the blocks that are given to nodes."""
        return cidr in self._cidrs[1:]

    def propose(self, obj: Node, taken: Collection[str]) -> None:
        """The next /24 that no node has.

        Each proposal goes on where the last one ended: nodes that join at once do not all try the
        same block, and a new one does not try those of all others first.
        """
        if obj.spec.podCIDR and allocation_key(POOL, _slug(obj.spec.podCIDR)) not in taken:
            return
        blocks, now = self._cidrs[1:], self._clock.monotonic()
        for _ in blocks if now >= self._full_until else ():
            cidr = blocks[self._turn % len(blocks)]
            self._turn += 1
            if allocation_key(POOL, _slug(cidr)) not in taken:
                obj.spec.podCIDR, obj.spec.podCIDRs = cidr, (cidr,)
                return
        self._full_until = max(self._full_until, now + FULL_SECONDS)
        text = f"all {len(blocks)} blocks of the cluster CIDR belong to nodes: it is too small"
        finding = errors.forbidden("spec.podCIDR", text)
        raise errors.invalid_object("", "Node", obj.metadata.name, [finding])

    def released(self, obj: Node) -> list[Allocation]:
        """The block of pod addresses; the number of a certificate is never given again."""
        if not obj.spec.podCIDR:
            return []
        return [Allocation(allocation_key(POOL, _slug(obj.spec.podCIDR)), obj.metadata.uid)]

    def allocations(self, obj: Node) -> list[Allocation]:
        """The block of pod addresses, and the numbers of its machine's certificates."""
        said = (
            obj.metadata.annotations.get(key, "") for key in (NODE_CERTIFICATE, NEXT_CERTIFICATE)
        )
        numbers = (allocation_key(CERTIFICATES, one) for one in said if _SERIAL.fullmatch(one))
        return [*self.released(obj), *(Allocation(key, "node") for key in numbers)]

    def already_taken(self, obj: Node, key: str) -> FieldError:
        """A certificate that was another Node's, or a block that was asked for."""
        if key.startswith(allocation_key(CERTIFICATES, "x")[:-1]):
            text = f"its machine's certificate belonged to a Node that was deleted: {REJOIN}"
            return errors.forbidden(f"metadata.annotations[{NODE_CERTIFICATE}]", text)
        return super().already_taken(obj, key)

    def validate(self, obj: Node) -> list[FieldError]:
        """Taints: known effects, each key and effect once. Pod addresses: blocks. Amounts."""
        return errors.first(
            chain(_block_problems(obj), _taint_problems(obj), _amount_problems(obj.status))
        )

    def validate_status_update(self, new: Node, old: Node) -> list[FieldError]:
        """Addresses of a machine and what it has, where they have changed: what is stored already
        may stay."""
        findings: Findings = iter(())
        if new.status.addresses != old.status.addresses:
            findings = validate_addresses(new.status.addresses, self._ranges)
        if _amounts(new.status) != _amounts(old.status):
            findings = chain(findings, _amount_problems(new.status))
        return errors.first(findings)

    def validate_update(self, new: Node, old: Node) -> list[FieldError]:
        """Pod addresses never change."""
        if old.spec.podCIDR and new.spec.podCIDR != old.spec.podCIDR:
            text = 'node updates may not change podCIDR except from "" to valid'
            return [errors.forbidden("spec.podCIDRs", text)]
        return []


def _taint_problems(obj: Node) -> Findings:
    yield from few("spec.taints", obj.spec.taints, TAINTS_MAX)
    seen = set()
    for number, taint in enumerate(obj.spec.taints):
        path = f"spec.taints[{number}]"
        if not taint.key:
            yield errors.required(f"{path}.key")
        yield from one_of(f"{path}.effect", taint.effect, _EFFECTS)
        if (taint.key, taint.effect) in seen:
            yield errors.duplicate(path, f"{taint.key}:{taint.effect}")
        seen.add((taint.key, taint.effect))


def _amounts(status: NodeStatus) -> dict[str, dict[str, Quantity]]:
    return {"capacity": status.capacity, "allocatable": status.allocatable}


def _amount_problems(status: NodeStatus) -> Findings:
    """What of the resources of a machine is less than nothing, or half a pod."""
    for field, amounts in _amounts(status).items():
        for name, amount in sorted(amounts.items()):
            yield from validate_amount(f"status.{field}.{name}", name, amount)


def _block_problems(obj: Node) -> Findings:
    """What of the pod addresses, which a client may choose, is no block of addresses."""
    for number, block in enumerate(obj.spec.podCIDRs):
        try:
            ip_network(block)
        except ValueError:
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield errors.invalid(f"spec.podCIDRs[{number}]", block, text)


def _slug(cidr: str) -> str:
    """A CIDR as one segment of a key."""
    return cidr.replace("/", "-")


RULES = {"nodes": Rules(NodeStrategy, cells_of, FIELDS)}
