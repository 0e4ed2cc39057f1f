"""Writes what nodes report: their Node objects, their pods' status, pods that are gone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from common.api import conditions, errors, times
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.types import Quantity
from common.api.types.coordination_v1 import Lease, LeaseSpec
from common.api.types.core_v1 import Node, NodeSpec, NodeStatus, Pod, PodStatus
from common.api.types.meta_v1 import ObjectMeta, OwnerReference
from common.api.wellknown import NODE_LEASES
from common.security.csr import EXPIRES, NEXT_CERTIFICATE, NODE_CERTIFICATE, REVOKED
from common.security.identity import Identity
from master.apiserver.auth.trust import REJOIN
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Change, Pipeline
from master.apiserver.request.audit import Caller
from master.apiserver.request.chain import Chain
from master.apiserver.request.context import Context
from master.apiserver.request.options import DeleteOptions
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node.node import NodeStrategy
from master.apiserver.resources.core.node.nodeaddresses import CALLS_FROM
from master.apiserver.resources.core.node.noderestriction import check_items, own_labels
from master.apiserver.resources.core.pod.container.resources import is_extended
from protos import node_v1_pb2

LEASE_SECONDS = 40
OF_RESIZES = ("PodResizePending", "PodResizeInProgress")


class Reports:
    """Applies a node's reports, and nothing that is not the node's own."""

    def __init__(self, chain: Chain, pipeline: Pipeline) -> None:
        self._chain = chain
        self._pipeline = pipeline
        self._nodes = pipeline.scheme.require("", "v1", "nodes")
        self._pods = pipeline.scheme.require("", "v1", "pods")
        self._leases = pipeline.scheme.require("coordination.k8s.io", "v1", "leases")

    async def register(self, caller: Caller, name: str, data: bytes) -> tuple[Node, bytes]:
        """Create or refresh the Node object of a kubelet: (it, with its pod CIDR; its status as it
        was reported). Its address is the one that it calls from.

        The watch cache has the Node by then: whether a node has rights is looked up there.
        """
        reported, _ = codec.decode_request(data, Node)
        status = codec.encode(reported.status)
        labels = own_labels(reported.metadata.labels)
        said = {NODE_CERTIFICATE: caller.by.serial, CALLS_FROM: caller.source, **_end(caller.by)}
        reported.metadata = ObjectMeta(name=name, labels=labels, annotations=said)
        try:
            node = await self._refresh(caller, reported)
        except StatusError as error:
            if error.reason != "NotFound":
                raise
            node = await self._join(caller, reported)
        await self.node_status(caller, name, status)
        await self._ensure_lease(caller, node)
        await fresh(self._pipeline.cache, node.metadata.resourceVersion)
        return node, status

    async def _join(self, caller: Caller, reported: Node) -> Node:
        """Create the Node of a machine that has none. Of its spec it may say one thing: the block
        of its pods, which go on running when its Node is deleted. It has that block again unless
        another node does."""
        strategy = self._pipeline.strategy(self._nodes)
        assert isinstance(strategy, NodeStrategy)
        name, wish = reported.metadata.name, reported.spec.podCIDR
        blocks = (wish, "") if strategy.gives(wish) else ("",)
        for block in blocks:
            reported.spec = NodeSpec(podCIDR=block, podCIDRs=(block,) if block else ())
            try:
                made = await self._create(caller, Target(self._nodes, "", name), reported)
            except StatusError as error:
                if not block or error.reason != "Invalid":
                    raise
            else:
                return codec.decode(made, Node)
        raise AssertionError

    def _call(
        self, caller: Caller, verb: str, target: Target
    ) -> AbstractAsyncContextManager[object]:
        """A part of a node's stream, which ends when the node's rights do. What registers a Node is
        carried out while there is none by which the certificate would count.
        """
        return self._chain.call(caller, verb, target, is_part=True)

    async def _create(self, caller: Caller, target: Target, obj: Any) -> bytes:
        async with self._call(caller, "create", target):
            return await self._pipeline.create(_context(caller), target, obj)

    async def _update(self, caller: Caller, target: Target, change: Change) -> bytes:
        """What a node writes beside its status is the master's choice: it needs no other right."""
        status = target._replace(subresource="status")
        async with self._call(caller, "update", status):
            return await self._pipeline.update(_context(caller), target, change)

    async def _refresh(self, caller: Caller, reported: Node) -> Node:
        """Bring labels and address of a known node up to date; its own choice of labels stays.

        Raises StatusError 403 when it was registered with another certificate.
        """
        name = reported.metadata.name

        def change(node: Node) -> Node:
            node.metadata.labels.update(reported.metadata.labels)
            serial, said = caller.by.serial, node.metadata.annotations
            present = said.setdefault(NODE_CERTIFICATE, serial)
            if present == REVOKED or serial not in (present, said.get(NEXT_CERTIFICATE)):
                why = f"it belongs to another certificate; to take it over, {REJOIN}"
                raise errors.forbidden_request(self._nodes, name, why)
            said[CALLS_FROM] = reported.metadata.annotations[CALLS_FROM]
            return node

        return codec.decode(await self._update(caller, Target(self._nodes, "", name), change), Node)

    async def take_over(self, caller: Caller, name: str) -> None:
        """The certificate that a node has used replaces the one of before, which counts no longer.

        When the node's stream is there: it is what follows the stream of the former one.
        """

        def change(node: Node) -> Node:
            said = node.metadata.annotations
            if said.get(NEXT_CERTIFICATE) == caller.by.serial:
                said[NODE_CERTIFICATE] = said.pop(NEXT_CERTIFICATE)
            if said.get(NODE_CERTIFICATE) == caller.by.serial:
                said.update(_end(caller.by))
            return node

        await self._update(caller, Target(self._nodes, "", name), change)

    async def _ensure_lease(self, caller: Caller, node: Node) -> None:
        """The Lease that shows heartbeats; its renewTime is overlaid when it is read."""
        owner = OwnerReference(
            apiVersion="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid
        )
        lease = Lease(
            metadata=ObjectMeta(name=node.metadata.name, ownerReferences=(owner,)),
            spec=LeaseSpec(holderIdentity=node.metadata.name, leaseDurationSeconds=LEASE_SECONDS),
        )
        target = Target(self._leases, NODE_LEASES, node.metadata.name)
        try:
            await self._create(caller, target, lease)
        except StatusError as error:
            if error.reason not in ("AlreadyExists", "NotFound"):
                raise

    async def node_status(self, caller: Caller, name: str, data: bytes) -> None:
        """Take a node's status; conditions and devices that the kubelet does not know stay."""

        def change(node: Node) -> Node:
            reported, _ = codec.decode_request(data, NodeStatus)
            check_items(reported)
            reported.conditions = conditions.put_all(node.status.conditions, reported.conditions)
            given = reported.allocatable or reported.capacity
            reported.capacity = _devices(node.status.capacity) | reported.capacity
            reported.allocatable = _devices(node.status.allocatable) | given
            node.status = reported
            return node

        await self._update(caller, Target(self._nodes, "", name, "status"), change)

    async def pod_status(self, caller: Caller, node: str, report: node_v1_pb2.PodReport) -> None:
        """Take a pod's status from the node that it is bound to.

        Raises StatusError 404 when the pod is gone or another one has its name, 403 when it is
        bound elsewhere, 400 or 422 for what is no status.
        """

        def change(pod: Pod) -> Pod:
            if pod.metadata.uid != report.uid:
                raise errors.not_found(self._pods, report.name)
            if pod.spec.nodeName != node:
                why = f"node {node} is not where this pod is bound"
                raise errors.forbidden_request(self._pods, report.name, why)
            reported, _ = codec.decode_request(report.status, PodStatus)
            check_items(reported)
            # Those of a resize are there for as long as its kubelet says so.
            kept = [one for one in pod.status.conditions if one.type not in OF_RESIZES]
            reported.conditions = conditions.put_all(kept, reported.conditions)
            reported.nominatedNodeName = pod.status.nominatedNodeName
            pod.status = reported
            return pod

        target = Target(self._pods, report.namespace, report.name, "status")
        await self._update(caller, target, change)

    async def pod_gone(self, caller: Caller, node: str, gone: node_v1_pb2.PodGone) -> None:
        """Remove a deleting pod of which nothing is left on its node."""
        target = Target(self._pods, gone.namespace, gone.name)
        try:
            current = await self._pipeline.read(target)
        except StatusError as error:
            if error.code == 404:
                return
            raise
        pod = codec.decode(current.value, Pod)
        if pod.metadata.uid != gone.uid or pod.spec.nodeName != node:
            return
        if not pod.metadata.deletionTimestamp:
            return
        options = DeleteOptions(grace_period_seconds=0, uid=gone.uid)
        async with self._call(caller, "delete", target):
            await self._pipeline.delete(_context(caller), target, options)


def _context(caller: Caller) -> Context:
    return Context(user=caller.user)


def _end(identity: Identity) -> dict[str, str]:
    """What people may read of the end of a certificate."""
    if math.isinf(identity.expires):
        return {}
    return {EXPIRES: times.to_time(datetime.fromtimestamp(identity.expires, UTC))}


def _devices(amounts: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Those of extended resources: an administrator or a program writes them to a node's status."""
    return {name: amount for name, amount in amounts.items() if is_extended(name)}
