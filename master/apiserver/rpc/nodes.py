"""The nodes' service: one control stream a node, down with assignments, up with reports.

Heartbeats stay in memory: the master that holds the stream knows that the node lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import grpc
import msgspec

from common.api import conditions
from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.types.core_v1 import Node
from common.client.events import EventRecorder
from common.client.informer import Item, Lister
from common.runtime.clock import Clock
from common.security.ca import CertificateError
from common.security.identity import Identity, identity_from_pem
from master.apiserver.auth.authorizer import node_name
from master.apiserver.rpc import assignments
from master.apiserver.rpc.assignments import Reference
from master.apiserver.rpc.reports import Reports
from master.apiserver.rpc.sessions import NodeSessions
from protos import node_v1_pb2, node_v1_pb2_grpc

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5
RETRY_SECONDS = 0.5
OUTBOX_MAX = 1000
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
        self.epoch = epoch
        self.outbox: asyncio.Queue[ToNode | None] = asyncio.Queue(OUTBOX_MAX)
        self.due: dict[str, Item | None] = {}
        self.due_event = asyncio.Event()
        self.references: dict[str, set[Reference]] = {}
        self.reports: dict[str, FromNode] = {}
        """The newest report of each pod and of the node, and pods that are gone, to be written."""
        self.reports_event = asyncio.Event()
        self.replaced = asyncio.Event()
        self.network_due = True
        self.status = b""

    def report(self, key: str, message: FromNode) -> None:
        """Write what the node has said, in place of what it said of the same before."""
        self.reports[key] = message
        self.reports_event.set()

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
        clock: Clock,
    ) -> None:
        self._pods = listers["pods"]
        self._config_maps = listers["configmaps"]
        self._secrets = listers["secrets"]
        self._services = listers["services"]
        self._cidrs = cidrs
        self._peers: dict[str, node_v1_pb2.Peer] = {}
        self._unknown: set[str] = set()
        self._started = clock.monotonic()
        self._heard: dict[str, float] = {}
        self._clock = clock
        self.streams: dict[str, NodeStream] = {}
        self.usage = usages
        self.usage_turn = asyncio.Event()
        self.heartbeats = heartbeats
        self._epochs: dict[str, int] = defaultdict(int)
        self._by_node: dict[str, set[str]] = defaultdict(set)

    def pod_changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Informer handler: tell the pod's node."""
        if old is not None and old.node and (new is None or new.uid != old.uid):
            self._by_node[old.node].discard(old.key)
            if stream := self.streams.get(old.node):
                stream.tell(_key(old), None)
        if new is not None and new.node:
            self._by_node[new.node].add(new.key)
            if stream := self.streams.get(new.node):
                stream.tell(_key(new), new)

    def node_changed(self, resource: Resource, old: Item | None, new: Item | None) -> None:
        """Informer handler: tell every node when a pod CIDR or a node's address has changed."""
        item = new or old
        assert item is not None
        self._note_ready(item.name, new)
        peer = _peer(new) if new is not None else None
        if peer == self._peers.get(item.name):
            return
        self._peers.pop(item.name, None)
        if peer is not None:
            self._peers[item.name] = peer
        for stream in self.streams.values():
            stream.network_due = True
            stream.due_event.set()

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
        """Informer handler: send pods again whose ConfigMap or Secret has changed."""
        changed = new or old
        assert changed is not None
        reference = Reference(resource.plural, changed.namespace, changed.name)
        for stream in self.streams.values():
            for key, wanted in stream.references.items():
                if reference in wanted:
                    namespace_name, _, uid = key.rpartition("/")
                    pod = self._pods.by_key(namespace_name)
                    if pod is not None and pod.uid == uid:
                        stream.tell(key, pod)

    def used_by_node(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod bound to the node references that object."""
        stream = self.streams.get(node)
        reference = Reference(plural, namespace, name)
        return stream is not None and any(reference in r for r in stream.references.values())

    def node_of_pod(self, namespace: str, name: str) -> str | None:
        """The node that a pod is bound to."""
        pod = self._pods.get(namespace, name)
        return pod.node if pod is not None else None

    def silence_seconds(self, node: str) -> float:
        """Since a message of the node last came; since this master started, if none ever did."""
        return self._clock.monotonic() - self._heard.get(node, self._started)

    def heard(self, node: str) -> None:
        """A message of the node has come: it lives."""
        self._heard[node] = self._clock.monotonic()
        self.heartbeats[node] = self._clock.now().timestamp()

    def usage_reported(self, node: str, usage: node_v1_pb2.NodeUsage) -> None:
        """Keep a node's newest usage and wake everybody who waits for the next one."""
        self.usage[node] = usage
        turn, self.usage_turn = self.usage_turn, asyncio.Event()
        turn.set()

    def open(self, node: str, identity: Identity) -> NodeStream:
        """Begin a stream; a former one of the same node ends."""
        former = self.streams.get(node)
        if former is not None:
            former.replaced.set()
        self._epochs[node] += 1
        stream = NodeStream(node, identity, self._epochs[node])
        self.streams[node] = stream
        return stream

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
        message, wanted = assignments.assignment(
            item, self._config_maps, self._secrets, self._services
        )
        stream.references[key] = wanted
        return message


def _peer(item: Item) -> node_v1_pb2.Peer | None:
    """What other nodes must know of a node; None until it has an address and a pod CIDR."""
    node = item.decode(Node)
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
    if not node.spec.podCIDR or not address:
        return None
    return node_v1_pb2.Peer(pod_cidr=node.spec.podCIDR, address=address)


def _key(pod: Item) -> str:
    return f"{pod.namespace}/{pod.name}/{pod.uid}"


class NodeService(node_v1_pb2_grpc.NodeServiceServicer):
    """The gRPC face of the hub."""

    def __init__(
        self,
        hub: NodeHub,
        reports: Reports,
        sessions: NodeSessions,
        recorder: EventRecorder,
        *,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._reports = reports
        self._sessions = sessions
        self._recorder = recorder
        self._clock = clock

    async def Control(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[ToNode]:
        """A node's control stream."""
        first = await anext(request_iterator, None)
        name, identity = await _caller(context)
        hello = await _hello(first, context, name)
        self._hub.heard(name)  # before the node is written Ready: it must not look silent then
        try:
            node = await self._reports.register(identity, name, hello.node)
        except StatusError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.message)
            raise
        stream = self._hub.open(name, identity)
        stream.status = codec.encode(codec.decode(hello.node, Node).status)
        log.info("node connected", extra={"object": name, "epoch": stream.epoch})
        tasks = [
            asyncio.create_task(self._read(stream, request_iterator)),
            asyncio.create_task(self._write_reports(stream)),
            asyncio.create_task(self._feed(stream, node)),
            asyncio.create_task(stream.replaced.wait()),
        ]
        self._sessions.node_connected(name, stream.outbox)
        ending = asyncio.create_task(_end_with_the_first(tasks, stream))
        try:
            while (message := await stream.outbox.get()) is not None:
                yield message
        finally:
            for task in (ending, *tasks):
                task.cancel()
            await asyncio.gather(ending, *tasks, return_exceptions=True)
            self._sessions.node_disconnected(name, stream.outbox)
            self._hub.close(stream)
            log.info("node disconnected", extra={"object": name, "epoch": stream.epoch})

    async def _feed(self, stream: NodeStream, node: Node) -> None:
        """Welcome, every pod, Synced, and then what changes."""
        welcome = node_v1_pb2.Welcome(
            pod_cidr=node.spec.podCIDR, epoch=stream.epoch, heartbeat_seconds=HEARTBEAT_SECONDS
        )
        await stream.outbox.put(ToNode(welcome=welcome))
        self._hub.tell_everything(stream)
        await self._tell_due(stream)
        await stream.outbox.put(ToNode(synced=node_v1_pb2.Synced()))
        while True:
            await stream.due_event.wait()
            await self._tell_due(stream)

    async def _tell_due(self, stream: NodeStream) -> None:
        stream.due_event.clear()
        if stream.network_due:
            stream.network_due = False
            await stream.outbox.put(ToNode(network=self._hub.network()))
        while stream.due:
            key = next(iter(stream.due))
            item = stream.due.pop(key)
            await stream.outbox.put(self._hub.message_of(stream, key, item))

    async def _read(self, stream: NodeStream, messages: AsyncIterator[Any]) -> None:
        """Take the node's messages until it ends the stream."""
        async for message in messages:
            if not self._hub.is_current(stream):
                return  # what an old stream still brings is no longer true
            self._hub.heard(stream.node)
            match message.WhichOneof("message"):
                case "heartbeat":
                    self._restore(stream)
                    if message.heartbeat.HasField("usage"):
                        self._hub.usage_reported(stream.node, message.heartbeat.usage)
                case "pod":
                    stream.report(f"pod {message.pod.uid}", message)
                case "node":
                    stream.status = message.node.status
                    stream.report("node", message)
                case "gone":
                    stream.report(f"gone {message.gone.uid}", message)
                case "event":
                    self._record(message.event)

    def _restore(self, stream: NodeStream) -> None:
        """A node that was silent for too long and goes on: what it last said is true again."""
        if self._hub.is_unknown(stream.node) and stream.status:
            last = node_v1_pb2.NodeReport(status=stream.status)
            stream.report("node", FromNode(node=last))

    def _record(self, event: node_v1_pb2.EventReport) -> None:
        about = msgspec.json.decode(event.involved_object, type=dict[str, str])
        self._recorder.record(about, event.type, event.reason, event.message)

    async def _write_reports(self, stream: NodeStream) -> None:
        """Store what was reported, one after the other; heartbeats do not wait for it."""
        while True:
            await stream.reports_event.wait()
            stream.reports_event.clear()
            while stream.reports and self._hub.is_current(stream):
                await self._write(stream, stream.reports.pop(next(iter(stream.reports))))

    async def _write(self, stream: NodeStream, report: FromNode) -> None:
        """Store one report; of a pod's status the node is told that it need not be kept."""
        match report.WhichOneof("message"):
            case "node":
                write = self._reports.node_status
                await self._patiently(write, stream, stream.node, report.node.status)
            case "gone":
                await self._patiently(self._reports.pod_gone, stream, stream.node, report.gone)
            case "pod":
                pod = report.pod
                await self._patiently(self._reports.pod_status, stream, stream.node, pod)
                accepted = node_v1_pb2.Accepted(uid=pod.uid, sequence=pod.sequence)
                await stream.outbox.put(ToNode(accepted=accepted))

    async def _patiently(self, write: Any, stream: NodeStream, *arguments: Any) -> None:
        """Carry out a write; wait while the store is away, drop what is refused."""
        while True:
            try:
                await write(stream.identity, *arguments)
                return
            except StatusError as error:
                if error.code < 500:
                    extra = {"object": stream.node, "error": error.message}
                    if error.code != 404:
                        log.warning("a report was refused", extra=extra)
                    return
                if not self._hub.is_current(stream):
                    return
                await self._clock.sleep(RETRY_SECONDS)

    async def Session(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """A stream that the node opens for a session."""
        first = await anext(request_iterator, node_v1_pb2.SessionFrame())
        name, _ = await _caller(context)
        session = self._sessions.claim(first.id, name)
        if session is None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no such session")
            return
        reader = asyncio.create_task(_pump(request_iterator, session.frames))
        closed = asyncio.create_task(session.closed.wait())
        try:
            await asyncio.wait({reader, closed}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                await closed
            yield node_v1_pb2.SessionFrame(end=True)
        finally:
            reader.cancel()
            closed.cancel()


async def _end_with_the_first(tasks: list[asyncio.Task[Any]], stream: NodeStream) -> None:
    """End a stream as soon as one of its tasks has ended; say so when that was a mistake."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if (error := task.exception()) is not None:
            log.error("a node's stream failed", extra={"object": stream.node}, exc_info=error)
    await stream.outbox.put(None)


async def _pump(frames: AsyncIterator[Any], queue: asyncio.Queue[Any]) -> None:
    """Hand a node's frames on; a full queue slows the node down. None marks the end."""
    try:
        async for frame in frames:
            await queue.put(frame)
        await queue.put(None)
    except BaseException:  # what nobody has read of a broken stream is lost; the end is told
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(None)
        raise


async def _caller(context: Any) -> tuple[str, Identity]:
    """(node name, identity) of the client certificate; aborts the call for anybody else.

    Asked when the first message is there: grpc.aio's clients take a refusal that meets a message
    on its way for an internal error.
    """
    pem = context.auth_context().get("x509_pem_cert", [b""])[0]
    try:
        identity = identity_from_pem(pem)
    except CertificateError as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        raise
    name = node_name(identity)
    if name is None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only nodes may call this service")
        raise PermissionError(identity.user)
    return name, identity


async def _hello(first: Any, context: Any, name: str) -> Any:
    """The hello of a stream's first message; its node must be the one of the certificate."""
    if first is None or first.WhichOneof("message") != "hello":
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be hello")
        raise ValueError
    if first.hello.node_name != name:
        text = f"the certificate is for node {name}, not {first.hello.node_name}"
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        raise PermissionError
    return first.hello
