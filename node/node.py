"""A node that runs: what it keeps of the master's messages, and whom it hands them to."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from common.api.codec import json as codec
from common.api.types.core_v1 import Pod
from common.api.types.meta_v1 import ObjectMeta
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.security.digest import digest
from common.security.files import write_private
from node import addresses
from node.kubelet.effects.executor import Tools
from node.kubelet.kubelet import Kubelet
from node.kubelet.machine.node_status import Machine
from node.network.ipam import AddressPool
from node.network.keeper import NetworkKeeper
from node.network.routes import Network, Peer
from node.runtime.base import POD_UID
from node.session import credentials
from node.session.assigned import AssignedStore
from node.session.control import ControlStream, Handlers
from node.session.credentials import Held
from node.session.renewal import Renewal
from node.session.sessions import Sessions
from node.session.writer import DiskWriter
from protos import node_v1_pb2

log = logging.getLogger(__name__)


class _Named(msgspec.Struct):
    """What must be readable of a pod to name it."""

    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


@dataclass(slots=True, kw_only=True)
class Node:
    """A node that is put together; `run` begins its work."""

    machine: Machine
    kubelet: Kubelet
    tools: Tools
    network: NetworkKeeper
    stream: ControlStream
    sessions: Sessions
    renewal: Renewal
    held: Held
    pki: Path
    """The directory of its certificate."""
    assigned: AssignedStore
    writer: DiskWriter
    cidr_file: Path
    pod_cidr: str
    """The block of its pods' addresses; empty until a master has told it."""
    address: Callable[[], str]
    """By which this machine is reached now."""
    offload: Offload
    clock: Clock

    async def run(self, ready: Callable[[str], None]) -> None:
        """Take up what was assigned before, unless the machine has booted; serve the master.

        `ready` is called when pods are looked after, with a master or without, and again when no
        master listens, with why, or one does again, with nothing.
        """
        await self.kubelet.relist()
        for assignment in await self.offload(lambda: list(self.assigned.load())):
            self.kubelet.assign(assignment)
        self.network.start(self.pod_cidr)
        gc.freeze()
        handlers = Handlers(
            hello=self._hello,
            welcome=self._welcome,
            network=self._network_changed,
            assign=self._assign,
            removed=self._removed,
            synced=self._synced,
            open_session=self.sessions.open,
            trust=self._trust,
            refused=self.renewal.refused,
            trouble=ready,
        )
        ready("")
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writer.run())
            group.create_task(self.network.run())
            group.create_task(self.kubelet.run())
            group.create_task(self.stream.run(handlers))
            group.create_task(self.renewal.run())
            group.create_task(addresses.follow(lambda: [self.address()], self.clock))

    async def halt(self, seconds: float) -> None:
        """Stop all pods politely, within so many seconds."""
        await self.kubelet.halt(seconds)

    async def _hello(self) -> node_v1_pb2.Hello:
        return node_v1_pb2.Hello(
            node_name=self.machine.name,
            boot_id=self.machine.boot_id,
            machine_id=self.machine.machine_id,
            version=self.machine.version,
            node=self.kubelet.registration(self.pod_cidr),
            trusts=digest(self.held.current.ca),
        )

    def _welcome(self, welcome: node_v1_pb2.Welcome) -> None:
        """The pod CIDR never changes for a node; keep it for starts without a master."""
        cidr = welcome.pod_cidr
        if cidr == self.pod_cidr:
            return
        try:
            self.tools.pool = AddressPool(cidr)
        except ValueError as error:  # it is not IPv4: somebody has made the Node by hand
            log.error("no addresses for pods", extra={"object": cidr, "error": str(error)})
            return
        self.pod_cidr = cidr
        self.writer.put(str(self.cidr_file), partial(write_private, self.cidr_file, cidr.encode()))

    def _trust(self, told: node_v1_pb2.Trust) -> None:
        """Whom this node trusts, and whether its certificate is of another authority."""
        try:
            credentials.trust(self.pki, self.held, told.authorities)
        except (OSError, ValueError) as error:
            log.error("the master's authorities cannot be kept", extra={"error": str(error)})
        if told.renew:
            self.renewal.wanted()

    def _network_changed(self, told: node_v1_pb2.Network) -> None:
        peers = tuple(Peer(peer.pod_cidr, peer.address) for peer in told.peers)
        network = Network(told.cluster_cidr, told.service_cidr, peers)
        self.network.update(network, self.pod_cidr)

    def _assign(self, assignment: node_v1_pb2.PodAssignment) -> str:
        """Take an assignment; answers the pod's UID.

        A pod that cannot be read is left as it is: what runs of it runs on, and people are told.
        """
        try:
            uid = codec.decode(assignment.pod, Pod).metadata.uid
        except msgspec.DecodeError as error:
            return self._tell_unreadable(assignment.pod, str(error))
        if not POD_UID.fullmatch(uid):
            return self._tell_unreadable(assignment.pod, f"no UID: {uid!r}")
        self.writer.put(uid, partial(self.assigned.save, uid, assignment))
        self.kubelet.assign(assignment)
        return uid

    def _tell_unreadable(self, data: bytes, error: str) -> str:
        """Name a pod that this kubelet cannot read; answers its UID, or nothing."""
        try:
            meta = codec.decode(data, _Named).metadata
        except msgspec.DecodeError:
            meta = ObjectMeta()
        where = f"{meta.namespace}/{meta.name}"
        log.error("a pod cannot be read", extra={"object": where, "error": error})
        if meta.name:
            text = f"error syncing pod: it cannot be read: {error}"
            self.tools.record(Pod(metadata=meta), "", "Warning", "FailedSync", text)
        return meta.uid

    def _synced(self, uids: set[str]) -> None:
        self.kubelet.synced(uids)
        self.writer.put("what is assigned", partial(self.assigned.synced, frozenset(uids)))

    def _removed(self, uid: str) -> None:
        self.writer.put(uid, partial(self.assigned.remove, uid))
        self.kubelet.removed(uid)
