"""All nodes that hold a stream to this master: what each is told, and what was heard of it."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from common.api import conditions
from common.api.podreferences import Reference
from common.api.resource import Resource
from common.api.types.core_v1 import Node
from common.client.informer import Item, Lister
from common.limits.ratelimit import TokenBucket
from common.runtime.clock import Clock
from common.security.identity import Identity
from master.apiserver.auth.authorizer import Problem
from master.apiserver.request.audit import Caller
from master.nodes import assignments
from protos import node_v1_pb2

log = logging.getLogger(__name__)
OUTBOX_MAX = 1000
NETWORK_SECONDS = 0.25
"""Changes of the network within so long are told together."""
NETWORK_CHANGES_MAX = 100
"""A stream with so many untold is told of the whole network instead."""
COSTS_PER_SECOND = 200.0
COSTS_BURST = 2000.0
"""What a node may send: a message costs 1, and 1 more for each 4 KiB."""
REPORTS_MAX_BYTES = 8 << 20
"""Reports of a node that wait to be stored; with more the stream is not read."""
FromNode = node_v1_pb2.FromNode
ToNode = node_v1_pb2.ToNode


class Cidrs(NamedTuple):
    """The addresses of pods, and those of services."""

    cluster: str
    service: str


class NodeStream:
    """One control stream: what is still to be told, what was told, what was heard."""

    def __init__(self, node: str, identity: Identity, epoch: int) -> None:
        self.node = node
        self.identity = identity
        self.caller = Caller(identity, identity)
        self.epoch = epoch
        self.outbox: asyncio.Queue[ToNode | None] = asyncio.Queue(OUTBOX_MAX)
        self.due: dict[str, Item | None] = {}
        self.due_event = asyncio.Event()
        self.references: dict[str, set[Reference]] = {}
        self.reports: dict[str, FromNode] = {}
        """The newest report of each pod and of the node, and pods that are gone, to be written."""
        self.reports_event = asyncio.Event()
        self.replaced = asyncio.Event()
        """A later stream of the same node has begun, the node is not trusted any more, or the
        master stops."""
        self.boot_id = self.trusts = ""
        self.trust: node_v1_pb2.Trust | None = None
        """Whom the node is to trust, still to be told."""
        self.network_changes: list[node_v1_pb2.NetworkChange] | None = None
        """Changes that are still to be told; None: the whole network is."""
        self.status = b""
        self.intake = TokenBucket(per_second=COSTS_PER_SECOND, burst=COSTS_BURST)
        self.complaints = TokenBucket(per_second=0.1, burst=5.0)
        """Lines of the log about what it should not have sent."""
        self.stored_event = asyncio.Event()
        """Fewer reports wait than did."""
        self._waiting_bytes = 0

    def report(self, key: str, message: FromNode) -> None:
        """Write what the node has said, in place of what it said of the same before."""
        former = self.reports.get(key)
        self._waiting_bytes += _weight(message) - (_weight(former) if former is not None else 0)
        self.reports[key] = message
        self.reports_event.set()

    def next_report(self) -> FromNode:
        """Take out the report that has waited longest."""
        report = self.reports.pop(next(iter(self.reports)))
        self._waiting_bytes -= _weight(report)
        self.stored_event.set()
        return report

    @property
    def is_full(self) -> bool:
        """Whether more waits to be stored than is kept for one node."""
        return self._waiting_bytes > REPORTS_MAX_BYTES

    def change_network(self, change: node_v1_pb2.NetworkChange) -> None:
        """Tell the node of a change of the network when its turn comes."""
        if self.network_changes is not None:
            self.network_changes.append(change)
            if len(self.network_changes) > NETWORK_CHANGES_MAX:
                self.network_changes = None
        self.due_event.set()

    def tell(self, key: str, item: Item | None) -> None:
        """Tell the node of a pod's newest state (None: gone) when its turn comes."""
        self.due[key] = item
        self.due_event.set()


class NodeHub:
    """All nodes that hold a stream to this master."""

    def __init__(
        self,
        listers: Mapping[str, Lister],
        *,
        heartbeats: dict[str, float],
        usages: dict[str, node_v1_pb2.NodeUsage],
        cidrs: Cidrs,
        problem: Problem,
        clock: Clock,
    ) -> None:
        self._pods = listers["pods"]
        self._listers = listers
        self._cidrs = cidrs
        self._problem = problem
        self._peers: dict[str, node_v1_pb2.Peer] = {}
        self._told_peers: dict[str, node_v1_pb2.Peer] = {}
        self._moved: set[str] = set()
        self._moved_event = asyncio.Event()
        self._unknown: set[str] = set()
        self._started = clock.monotonic()
        self._heard: dict[str, float] = {}
        self._clock = clock
        self.streams: dict[str, NodeStream] = {}
        self.usage = usages
        self._next_usage: asyncio.Event | None = None
        self.heartbeats = heartbeats
        self._epochs: dict[str, int] = defaultdict(int)
        self._by_node: dict[str, set[str]] = defaultdict(set)

    def pod_changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Informer handler: tell the pod's node."""
        # A pod that is replaced by another of its name is gone, even if no event says that alone.
        if old is not None and old.node and (new is None or new.uid != old.uid):
            self._by_node[old.node].discard(old.key)
            if stream := self.streams.get(old.node):
                stream.tell(_key(old), None)
        if new is not None and new.node:
            self._by_node[new.node].add(new.key)
            if stream := self.streams.get(new.node):
                stream.tell(_key(new), new)

    def node_changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Informer handler: note that a pod CIDR or a node's address has changed."""
        item = new or old
        assert item is not None
        self._note_ready(item.name, new)
        stream = self.streams.get(item.name)
        if stream is not None and self._problem(stream.identity):
            log.warning("a node is not trusted any more", extra={"object": item.name})
            stream.replaced.set()
        peer = _peer(new) if new is not None else None
        if peer == self._peers.get(item.name):
            return
        self._peers.pop(item.name, None)
        if peer is not None:
            self._peers[item.name] = peer
        self._moved.add(item.name)
        self._moved_event.set()

    def tell_trust(self, trust_of: Callable[[str], node_v1_pb2.Trust]) -> None:
        """Tell every node whom to trust; that depends on its certificate's authority."""
        for stream in self.streams.values():
            stream.trust = trust_of(stream.identity.authority)
            stream.due_event.set()

    async def tell_network(self) -> None:
        """Tell every node what changes of the network, until cancelled; all get one message."""
        while True:
            await self._moved_event.wait()
            await self._clock.sleep(NETWORK_SECONDS)
            self._moved_event.clear()
            moved, self._moved = self._moved, set()
            change = _network_change(moved, self._told_peers, self._peers)
            self._told_peers = dict(self._peers)
            for stream in self.streams.values():
                stream.change_network(change)

    def _note_ready(self, name: str, item: Item | None) -> None:
        """Whether a node counts as lost."""
        self._unknown.discard(name)
        if item is not None:
            ready = conditions.find(item.decode(Node).status.conditions, "Ready")
            if ready is not None and ready.status == "Unknown":
                self._unknown.add(name)

    def is_unknown(self, node: str) -> bool:
        """Whether the API says of a node that nobody knows how it is."""
        return node in self._unknown

    def network(self) -> node_v1_pb2.Network:
        """Every node with the addresses of its pods."""
        return node_v1_pb2.Network(
            cluster_cidr=self._cidrs.cluster,
            service_cidr=self._cidrs.service,
            peers=[self._peers[name] for name in sorted(self._peers)],
        )

    def config_changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Informer handler: send pods again that use what has changed."""
        changed = new or old
        assert changed is not None
        reference = Reference(resource.group_resource, changed.namespace, changed.name)
        for stream in self.streams.values():
            for key, wanted in stream.references.items():
                if reference in wanted:
                    namespace_name, _, uid = key.rpartition("/")
                    pod = self._pods.by_key(namespace_name)
                    if pod is not None and pod.uid == uid:
                        stream.tell(key, pod)

    def silence_seconds(self, node: str) -> float:
        """Since a message of the node last came; since this master started, if none ever did."""
        return self._clock.monotonic() - self._heard.get(node, self._started)

    def heard(self, node: str) -> None:
        """A message of the node has come: it lives."""
        self._heard[node] = self._clock.monotonic()
        self.heartbeats[node] = self._clock.now().timestamp()

    def is_own_pod(self, node: str, namespace: str, name: str, uid: str) -> bool:
        """Whether that is a pod which is bound to the node."""
        pod = self._pods.get(namespace, name)
        return pod is not None and pod.node == node and pod.uid == uid

    def usage_reported(self, node: str, usage: node_v1_pb2.NodeUsage) -> None:
        """Keep a node's newest usage, of its own pods only, and wake everybody who waits for it."""
        own = [p for p in usage.pods if self.is_own_pod(node, p.namespace, p.name, p.uid)]
        if len(own) < len(usage.pods):
            del usage.pods[:]
            usage.pods.extend(own)
        self.usage[node] = usage
        if self._next_usage is not None:
            self._next_usage.set()
            self._next_usage = None

    def next_usage(self) -> asyncio.Event:
        """Set when the next usage of a node is reported."""
        self._next_usage = self._next_usage or asyncio.Event()
        return self._next_usage

    def open(self, node: str, identity: Identity) -> NodeStream:
        """Begin a stream; a former one of the same node ends."""
        former = self.streams.get(node)
        if former is not None:
            former.replaced.set()
        self._epochs[node] += 1
        stream = NodeStream(node, identity, self._epochs[node])
        self.streams[node] = stream
        return stream

    def stop(self) -> None:
        """End every stream: the nodes look for a master again."""
        for stream in self.streams.values():
            stream.replaced.set()

    def is_current(self, stream: NodeStream) -> bool:
        """Whether no later stream of the same node has begun."""
        return self.streams.get(stream.node) is stream

    def tell_everything(self, stream: NodeStream) -> None:
        """Tell a new stream of every pod that is bound to its node."""
        for key in sorted(self._by_node.get(stream.node, ())):
            pod = self._pods.by_key(key)
            if pod is not None and pod.node == stream.node:
                stream.tell(_key(pod), pod)

    def close(self, stream: NodeStream) -> None:
        """End a stream; what a newer one has said stays."""
        if self.streams.get(stream.node) is stream:
            del self.streams[stream.node]
            self.usage.pop(stream.node, None)

    def message_of(self, stream: NodeStream, key: str, item: Item | None) -> ToNode:
        """The message for one pod of a stream."""
        if item is None:
            stream.references.pop(key, None)
            namespace, name, uid = key.split("/")
            gone = node_v1_pb2.PodRemoved(namespace=namespace, name=name, uid=uid)
            return ToNode(removed=gone)
        message, wanted = assignments.assignment(item, self._listers)
        stream.references[key] = wanted
        return message


def _weight(report: FromNode) -> int:
    """What a report takes while it waits, in bytes; the constant is for the objects around it."""
    return report.ByteSize() + 512


def _network_change(
    names: Iterable[str],
    old: Mapping[str, node_v1_pb2.Peer],
    new: Mapping[str, node_v1_pb2.Peer],
) -> node_v1_pb2.NetworkChange:
    """What leads from one state of the network to another, where it may be different."""
    changed = [(old.get(name), new.get(name)) for name in sorted(names)]
    here = {peer.pod_cidr for _, peer in changed if peer is not None}
    return node_v1_pb2.NetworkChange(
        peers=[peer for before, peer in changed if peer is not None and peer != before],
        gone=[was.pod_cidr for was, _ in changed if was is not None and was.pod_cidr not in here],
    )


def _peer(item: Item) -> node_v1_pb2.Peer | None:
    """What other nodes must know of a node; None until it has an address and a pod CIDR."""
    node = item.decode(Node)
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
    if not node.spec.podCIDR or not address:
        return None
    return node_v1_pb2.Peer(pod_cidr=node.spec.podCIDR, address=address)


def _key(pod: Item) -> str:
    return f"{pod.namespace}/{pod.name}/{pod.uid}"
