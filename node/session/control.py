"""The control stream: dials the master, and carries messages both ways until it breaks; then again.

What must not be lost (statuses, removals) is kept until the master has it; heartbeats and usage
are not worth keeping. With a new certificate a second stream is opened beside the one that is
there, which ends once the master listens to the new one: nothing that is asked meanwhile fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from common.runtime.backoff import Backoff
from common.runtime.clock import Clock, sleep_or_event
from common.runtime.reasons import of_certificate
from common.runtime.rng import Rng
from node.session.credentials import Credentials, Held
from protos import node_v1_pb2, node_v1_pb2_grpc

log = logging.getLogger(__name__)
KEEPALIVE_MS = 10_000
SEND_MAX_BYTES = 2 << 20
# A pod comes with its ConfigMaps and Secrets, of up to 1 MiB each. What the master may send
# (ANSWER_MAX_BYTES there) is taken: it would say what was refused again with every new stream.
RECEIVE_MAX_BYTES = 256 << 20
RECONNECT = Backoff(initial_seconds=0.2, cap_seconds=5.0, jitter=0.5)
REFUSED = Backoff(initial_seconds=2.0, cap_seconds=300.0, jitter=0.5)
"""When the master says no, only its operator can change that."""
REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
)
WELCOME_SECONDS = 60.0
"""A master that has not welcomed a node by then is asked again, on another stream."""
EVENTS_MAX = 500
OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
    ("grpc.max_send_message_length", SEND_MAX_BYTES),
    ("grpc.enable_http_proxy", 0),
    # With a new certificate a new connection is made.
    ("grpc.use_local_subchannel_pool", 1),
)
FromNode = node_v1_pb2.FromNode


@dataclass(slots=True, kw_only=True)
class Handlers:
    """What the node does with the master's messages."""

    hello: Callable[[], Awaitable[node_v1_pb2.Hello]]
    welcome: Callable[[node_v1_pb2.Welcome], None]
    assign: Callable[[node_v1_pb2.PodAssignment], str]
    """Takes an assignment, answers the pod's UID."""
    network: Callable[[node_v1_pb2.Network], None]
    removed: Callable[[str], None]
    synced: Callable[[set[str]], None]
    open_session: Callable[[node_v1_pb2.OpenSession, AbstractContextManager[Any]], None]
    """Takes a stub, too, whose channel stays open until the end of its block."""
    trust: Callable[[node_v1_pb2.Trust], None]
    refused: Callable[[], None]
    """The master does not take this node's certificate."""
    trouble: Callable[[str], None]
    """Why no master listens; empty once one does."""


class _Link:
    """A channel with its control stream, and the sessions that use it."""

    def __init__(self, number: int) -> None:
        self.number = number
        """Later ones have higher numbers."""
        self.channel: grpc.aio.Channel | None = None
        self.welcomed = False
        self.over = asyncio.Event()
        """The stream has ended."""
        self.ready = asyncio.Event()
        """There is something to say."""
        self.error: grpc.aio.AioRpcError | None = None
        """By what."""
        self.network = node_v1_pb2.Network()
        self.users = 0
        self.unused = asyncio.Event()
        self.unused.set()

    def stub(self) -> Any:
        """A stub of the channel."""
        assert self.channel is not None
        return node_v1_pb2_grpc.NodeServiceStub(self.channel)


class _Use(AbstractContextManager[Any]):
    """Keeps a channel open from now to the end of the block, which has a stub of it."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        link.users += 1
        link.unused.clear()

    def __enter__(self) -> Any:
        return self._link.stub()

    def __exit__(self, *_: object) -> None:
        self._link.users -= 1
        if not self._link.users:
            self._link.unused.set()


class ControlStream:
    """The node's end of the control stream. Implements the kubelet's Master."""

    def __init__(self, address: str, held: Held, *, clock: Clock, rng: Rng) -> None:
        self._address = address
        self._held = held
        self._clock = clock
        self._rng = rng
        self._reports: dict[str, node_v1_pb2.PodReport] = {}
        self._unsent: dict[str, None] = {}
        self._gone: dict[str, node_v1_pb2.PodGone] = {}
        self._node_status = b""
        self._events: list[node_v1_pb2.EventReport] = []
        self._usage: node_v1_pb2.NodeUsage | None = None
        self._links: set[_Link] = set()
        """Those whose streams are open."""
        self._link: _Link | None = None
        """The one that the master listens to."""
        self._newest = 0
        self._heartbeat_seconds = 5

    def check_invariants(self) -> None:
        """What waits for the master is bounded: a report a pod, and the last events."""
        assert all(uid == report.uid for uid, report in self._reports.items())
        assert len(self._events) <= EVENTS_MAX
        assert self._link is None or self._link in self._links

    @property
    def connected(self) -> bool:
        """Whether the master listens."""
        return self._link is not None

    @contextmanager
    def using(self) -> Iterator[grpc.aio.Channel | None]:
        """The channel to the master, open until the end of the block; None while it is away."""
        link = self._link
        if link is None:
            yield None
            return
        with _Use(link):
            yield link.channel

    def pod_report(self, report: node_v1_pb2.PodReport) -> None:
        """Keep a pod's newest status until the master has accepted it."""
        self._reports[report.uid] = report
        self._unsent[report.uid] = None
        self._wake()

    def pod_gone(self, gone: node_v1_pb2.PodGone) -> None:
        """Nothing is left of a pod; said again after a reconnect when its object is still there."""
        self._gone[gone.uid] = gone
        self._wake()

    def node_report(self, status: bytes) -> None:
        """The node's newest status."""
        self._node_status = status
        self._wake()

    def event(self, event: node_v1_pb2.EventReport) -> None:
        """Record an event; the oldest are dropped when the master is away for long."""
        self._events = [*self._events, event][-EVENTS_MAX:]
        self._wake()

    def usage(self, usage: node_v1_pb2.NodeUsage) -> None:
        """The newest usage, sent with the next heartbeat."""
        self._usage = usage

    async def run(self, handlers: Handlers) -> None:
        """Hold the stream until cancelled."""
        failures = number = 0
        holding: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._held.changed.clear()
                number += 1
                link = _Link(number)
                task = asyncio.create_task(self._hold(link, handlers))
                holding = {task, *(one for one in holding if not one.done())}
                await _first(task, link.over, self._held.changed)
                if task.done():
                    task.result()
                if self._held.changed.is_set():
                    continue
                failures = 1 if link.welcomed else failures + 1
                seconds = self._tell(link.error, handlers).delay_seconds(
                    failures, self._rng.random()
                )
                await sleep_or_event(self._clock, seconds, self._held.changed)
        finally:
            for one in holding:
                one.cancel()
            await asyncio.gather(*holding, return_exceptions=True)

    def _tell(self, error: grpc.aio.AioRpcError | None, handlers: Handlers) -> Backoff:
        """Log why a stream has ended; answers how soon there is another one."""
        if error is None:
            return RECONNECT
        refused = error.code() in REFUSALS
        what = "the master refuses this node" if refused else "the master cannot be reached"
        why = of_certificate(error.details() or "") or f"{error.code().name}: {error.details()}"
        log.warning(what, extra={"error": why})
        handlers.trouble(f"{what}: {why}")
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            handlers.refused()
        return REFUSED if refused else RECONNECT

    async def _hold(self, link: _Link, handlers: Handlers) -> None:
        """One stream, from hello to its end; its channel stays for as long as sessions use it."""
        hello = await handlers.hello()
        async with _channel(self._address, self._held.current) as link.channel:
            self._links.add(link)
            try:
                stream = link.stub().Control(self._outgoing(link, hello))
                await self._receive(link, stream, handlers)
            except grpc.aio.AioRpcError as error:
                link.error = error
            except TimeoutError:
                link.error = _no_welcome()
            finally:
                link.over.set()
                link.ready.set()
                self._links.discard(link)
                if self._link is link:
                    self._link = None
            await link.unused.wait()

    def _is_former(self, link: _Link) -> bool:
        """Whether the master listens to a later stream by now."""
        return link.number < self._newest

    async def _receive(self, link: _Link, stream: AsyncIterator[Any], handlers: Handlers) -> None:
        """Hand the master's messages on. What a former stream still says of pods is old.

        Raises TimeoutError when none has come in time.
        """
        told: set[str] = set()
        async with asyncio.timeout(WELCOME_SECONDS) as limit:
            async for message in stream:
                limit.reschedule(None)
                if self._is_former(link) and message.WhichOneof("message") != "session":
                    continue
                try:
                    self._take(link, message, told, handlers)
                except Exception:  # one message that nobody can take must not end the node
                    kind = message.WhichOneof("message")
                    log.exception("a message of the master is left out", extra={"object": kind})

    def _take(self, link: _Link, message: Any, told: set[str], handlers: Handlers) -> None:
        """Hand one message on."""
        match message.WhichOneof("message"):
            case "welcome":
                link.welcomed, self._link, self._newest = True, link, link.number
                self._heartbeat_seconds = max(1, message.welcome.heartbeat_seconds)
                self._unsent = dict.fromkeys(self._reports)
                log.info("connected", extra={"epoch": message.welcome.epoch})
                self._wake()
                handlers.trouble("")
                handlers.welcome(message.welcome)
            case "pod":
                told.add(handlers.assign(message.pod))
            case "network":
                link.network = message.network
                handlers.network(link.network)
            case "network_change":
                link.network = changed(link.network, message.network_change)
                handlers.network(link.network)
            case "removed":
                self._forget(message.removed.uid)
                handlers.removed(message.removed.uid)
            case "synced":
                for uid in set(self._reports) - told:
                    self._forget(uid)
                handlers.synced(told)
            case "accepted":
                self._accepted(message.accepted)
            case "session":
                handlers.open_session(message.session, _Use(link))
            case "trust":
                handlers.trust(message.trust)

    def _forget(self, uid: str) -> None:
        self._reports.pop(uid, None)
        self._unsent.pop(uid, None)
        self._gone.pop(uid, None)

    def _accepted(self, accepted: node_v1_pb2.Accepted) -> None:
        report = self._reports.get(accepted.uid)
        if report is not None and report.sequence <= accepted.sequence:
            del self._reports[accepted.uid]

    async def _outgoing(self, link: _Link, hello: node_v1_pb2.Hello) -> AsyncIterator[FromNode]:
        """Hello, then what there is to say, and a heartbeat at the least.

        gRPC goes on asking for messages of a stream that has ended: what is meant for a later
        stream must not be given to it.
        """
        yield FromNode(hello=hello)
        next_heartbeat = 0.0
        while not link.over.is_set():
            link.ready.clear()
            if self._link is link:
                for message in self._drain():
                    yield message
                if self._clock.monotonic() >= next_heartbeat:
                    next_heartbeat = self._clock.monotonic() + self._heartbeat_seconds
                    usage, self._usage = self._usage, None
                    yield FromNode(heartbeat=node_v1_pb2.Heartbeat(usage=usage))
            await self._until_ready(link, next_heartbeat)

    def _drain(self) -> list[FromNode]:
        """Everything that waits, each pod's status before its removal."""
        messages = [FromNode(event=event) for event in self._events]
        self._events = []
        if self._node_status:
            messages.append(FromNode(node=node_v1_pb2.NodeReport(status=self._node_status)))
            self._node_status = b""
        messages += [
            FromNode(pod=self._reports[uid]) for uid in self._unsent if uid in self._reports
        ]
        self._unsent = {}
        messages += [FromNode(gone=gone) for gone in self._gone.values()]
        self._gone = {}
        return messages

    async def _until_ready(self, link: _Link, next_heartbeat: float) -> None:
        """Wait until there is something to say or a heartbeat is due."""
        seconds = float(self._heartbeat_seconds)
        if self._link is link:
            seconds = max(0.05, next_heartbeat - self._clock.monotonic())
        await sleep_or_event(self._clock, seconds, link.ready)

    def _wake(self) -> None:
        """There is something to say."""
        for link in self._links:
            link.ready.set()


def _channel(address: str, own: Credentials) -> grpc.aio.Channel:
    """A channel that shows this node's certificate."""
    credentials = grpc.ssl_channel_credentials(own.ca, own.key, own.certificate)
    return grpc.aio.secure_channel(address, credentials, OPTIONS)


def _no_welcome() -> grpc.aio.AioRpcError:
    """What is wrong when a master says nothing."""
    text = f"it has not answered within {WELCOME_SECONDS:.0f} s"
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing, text)


async def _first(task: asyncio.Task[None], *events: asyncio.Event) -> None:
    """Return when a task has ended or one of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait({task, *waits}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def changed(network: node_v1_pb2.Network, change: node_v1_pb2.NetworkChange) -> node_v1_pb2.Network:
    """The network after a change; a peer is known by its pod CIDR."""
    peers = {peer.pod_cidr: peer for peer in network.peers if peer.pod_cidr not in change.gone}
    peers.update((peer.pod_cidr, peer) for peer in change.peers)
    return node_v1_pb2.Network(
        cluster_cidr=network.cluster_cidr,
        service_cidr=network.service_cidr,
        peers=[peers[pod_cidr] for pod_cidr in sorted(peers)],
    )
