"""The nodes' service: one control stream a node, down with assignments, up with reports.

Heartbeats stay in memory: the master that holds the stream knows that the node lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Never

import grpc

from common.api import errors
from common.api.errors import StatusError
from common.client.events import EventRecorder
from common.runtime.clock import Clock
from common.security.ca import CertificateError
from common.security.identity import Identity, identity_from_pem
from master.apiserver.auth.authorizers.node import node_name
from master.apiserver.auth.trust import REJOIN, Trust
from master.apiserver.request.audit import NOBODY, Caller
from master.apiserver.request.chain import Chain
from master.apiserver.rpc.access import source
from master.apiserver.rpc.status import code_of
from master.nodes import intake
from master.nodes.duplicates import Duplicates
from master.nodes.hub import NodeHub, NodeStream
from master.nodes.reports import Reports
from master.nodes.sessions import NodeSessions
from protos import node_v1_pb2, node_v1_pb2_grpc

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5
RETRY_SECONDS = 0.5
ALIVE_SECONDS = 2.0 * HEARTBEAT_SECONDS
"""Of a node that was heard so recently another boot is not believed."""
COPY = "remove the kubelet's data directory there and join with another name"
OVERLAP_SECONDS = 15.0
"""For so long the former certificate counts beside the one that is used: kube-proxy looks at the
files every five seconds."""
TRUST_SECONDS = 2.0
"""How often it is looked whether a certificate still counts."""
MESSAGE_MAX = 256
PATH = "/wherry.node.v1.NodeService/"
FromNode = node_v1_pb2.FromNode
ToNode = node_v1_pb2.ToNode


class NodeService(node_v1_pb2_grpc.NodeServiceServicer):
    """The gRPC face of the hub."""

    def __init__(
        self,
        hub: NodeHub,
        reports: Reports,
        sessions: NodeSessions,
        trust: Trust,
        trust_of: Callable[[str], node_v1_pb2.Trust],
        recorder: EventRecorder,
        *,
        chain: Chain,
        clock: Clock,
    ) -> None:
        """`trust_of` says what a node is told whose certificate an authority, by key id, signed."""
        self._hub = hub
        self._reports = reports
        self._sessions = sessions
        self._trust = trust
        self._trust_of = trust_of
        self._duplicates = Duplicates(clock)
        self._recorder = recorder
        self._chain = chain
        self._clock = clock

    async def Control(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[ToNode]:
        """A node's control stream."""
        first = await anext(request_iterator, None)
        name, identity = await self._caller(context, "Control")
        hello = await self._hello(first, name, identity, context)
        if self._trust.is_registered(name):
            await self._check_trust(identity, context, "Control")
            await self._check_machine(hello, name, identity, context)
        elif problem := self._trust.is_over(identity):
            await self._refuse(context, "Control", identity, errors.unauthorized(problem))
        caller = Caller(identity, identity, source(context.peer()))
        self._hub.heard(name)  # before the node is written Ready: it must not look silent then
        try:
            node, status = await self._reports.register(caller, name, hello.node)
        except StatusError as error:
            code = code_of(error)
            if REJOIN in error.message:  # a kubelet that hears this looks for a new token
                code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, error.message[:MESSAGE_MAX])
            raise
        stream = self._hub.open(name, identity)
        stream.caller = caller
        stream.boot_id, stream.trusts = hello.boot_id, hello.trusts
        stream.trust = self._trust_of(identity.authority)
        stream.status = status
        welcome = node_v1_pb2.Welcome(
            pod_cidr=node.spec.podCIDR, epoch=stream.epoch, heartbeat_seconds=HEARTBEAT_SECONDS
        )
        stream.outbox.put_nowait(ToNode(welcome=welcome))  # before anybody asks for a session
        log.info("node connected", extra={"object": name, "epoch": stream.epoch})
        tasks = [
            asyncio.create_task(self._read(stream, request_iterator)),
            asyncio.create_task(self._write_reports(stream)),
            asyncio.create_task(self._feed(stream)),
            asyncio.create_task(stream.replaced.wait()),
            asyncio.create_task(self._expired(identity)),
            asyncio.create_task(self._retire_former_certificate(stream)),
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

    async def _refuse(
        self, context: Any, method: str, caller: Identity, error: StatusError
    ) -> Never:
        """Abort a call, and have that in the audit log."""
        who = Caller(caller, caller, source(context.peer()))
        self._chain.refused(who, PATH + method, error)
        await context.abort(code_of(error), error.message)
        raise error

    async def _caller(self, context: Any, method: str) -> tuple[str, Identity]:
        """(node name, identity) of the client certificate; aborts the call for anybody else.

        Asked when the first message is there: grpc.aio's clients take a refusal that meets a
        message on its way for an internal error.
        """
        pem = context.auth_context().get("x509_pem_cert", [b""])[0]
        try:
            identity = identity_from_pem(pem)
        except CertificateError as error:
            await self._refuse(context, method, NOBODY, errors.unauthorized(str(error)))
        name = node_name(identity)
        if name is None:
            await self._refuse(
                context, method, identity, _denied("only nodes may call this service")
            )
        return name, identity

    async def _hello(self, first: Any, name: str, identity: Identity, context: Any) -> Any:
        """The hello of a stream's first message; its node must be the one of the certificate."""
        if first is None or first.WhichOneof("message") != "hello":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message must be hello")
            raise ValueError
        if first.hello.node_name != name:
            text = f"the certificate is for node {name}, not {first.hello.node_name[:MESSAGE_MAX]}"
            await self._refuse(context, "Control", identity, _denied(text))
        try:
            intake.check_hello(first.hello)
        except intake.Refused as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise
        return first.hello

    async def _check_trust(self, identity: Identity, context: Any, method: str) -> None:
        """Abort the call of a node that is not the one of its Node."""
        if problem := self._trust.problem(identity):
            await self._refuse(context, method, identity, errors.unauthorized(problem))

    async def _check_machine(self, hello: Any, name: str, identity: Identity, context: Any) -> None:
        """Abort the call of a copy of a node: the same certificate on another machine."""
        own = self._trust.machine(name)
        if own and hello.machine_id != own:
            self._tell_of_copy(name, f"machine {hello.machine_id[:MESSAGE_MAX]}", context)
            text = f"node {name} is another machine; {COPY}"
            await self._refuse(context, "Control", identity, _denied(text))
        stream = self._hub.streams.get(name)
        alive = self._hub.silence_seconds(name) < ALIVE_SECONDS
        if stream is None or stream.boot_id == hello.boot_id or not alive:
            return
        if self._duplicates.persists(name, hello.boot_id):
            self._tell_of_copy(name, "a machine with the same id", context)
        text = (
            f"node {name} is connected, and was not booted since; if this machine is a copy, {COPY}"
        )
        await context.abort(grpc.StatusCode.UNAVAILABLE, text)

    def _tell_of_copy(self, name: str, what: str, context: Any) -> None:
        """Record that somebody else has the certificate of a node."""
        text = f"{what} at {source(context.peer())} shows the certificate of this node: refused"
        log.warning("a copy of a node was refused", extra={"object": name, "error": text})
        about = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": name}
        self._recorder.record(about, "Warning", "CopyRefused", text)

    async def _expired(self, identity: Identity) -> None:
        """Until the certificate does: a connection must not outlive it."""
        while not self._trust.problem(identity):
            await self._clock.sleep(TRUST_SECONDS)

    async def _retire_former_certificate(self, stream: NodeStream) -> None:
        """End the former certificate of a node, once its kube-proxy has had time to notice."""
        await self._clock.sleep(OVERLAP_SECONDS)
        await self._write_with_retries(self._reports.take_over, stream, stream.node)
        await stream.replaced.wait()

    async def _shut_out(self, name: str) -> None:
        """Until a node has no rights: a session outlives the certificate that it began with."""
        while not self._trust.is_shut_out(name):
            await self._clock.sleep(TRUST_SECONDS)

    async def _feed(self, stream: NodeStream) -> None:
        """Every pod, Synced, and then what changes."""
        self._hub.tell_everything(stream)
        await self._tell_due(stream)
        await stream.outbox.put(ToNode(synced=node_v1_pb2.Synced()))
        while True:
            await stream.due_event.wait()
            await self._tell_due(stream)

    async def _tell_due(self, stream: NodeStream) -> None:
        stream.due_event.clear()
        if stream.trust is not None:
            trust, stream.trust = stream.trust, None
            await stream.outbox.put(ToNode(trust=trust))
        changes, stream.network_changes = stream.network_changes, []
        if changes is None:
            await stream.outbox.put(ToNode(network=self._hub.network()))
        for change in changes or ():
            await stream.outbox.put(ToNode(network_change=change))
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
            try:
                self._take(stream, message)
            except intake.Refused as error:
                self._complain(stream, str(error))
            await self._pace(stream, message)

    def _take(self, stream: NodeStream, message: FromNode) -> None:
        """Act on one message. Raises Refused."""
        intake.check(message)
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
                is_own = partial(self._hub.is_own_pod, stream.node)
                self._recorder.record(*intake.occurrence(message.event, stream.node, is_own))

    async def _pace(self, stream: NodeStream, message: FromNode) -> None:
        """Read no faster than a node may send, and than its reports are stored."""
        cost = 1.0 + message.ByteSize() / 4096
        seconds = stream.intake.spend(self._clock.monotonic(), cost)
        if seconds:
            await self._clock.sleep(seconds)
        while stream.is_full:
            stream.stored_event.clear()
            await stream.stored_event.wait()

    def _complain(self, stream: NodeStream, why: str) -> None:
        """Log that a message was refused; not each time when there are many."""
        if stream.complaints.take(self._clock.monotonic()):
            log.warning("a message was refused", extra={"object": stream.node, "error": why[:500]})

    def _restore(self, stream: NodeStream) -> None:
        """A node that was silent for too long and goes on: what it last said is true again."""
        if self._hub.is_unknown(stream.node) and stream.status:
            last = node_v1_pb2.NodeReport(status=stream.status)
            stream.report("node", FromNode(node=last))

    async def _write_reports(self, stream: NodeStream) -> None:
        """Store what was reported, one after the other; heartbeats do not wait for it."""
        while True:
            await stream.reports_event.wait()
            stream.reports_event.clear()
            while stream.reports and self._hub.is_current(stream):
                await self._write(stream, stream.next_report())

    async def _write(self, stream: NodeStream, report: FromNode) -> None:
        """Store one report; of a pod's status the node is told that it need not be kept."""
        match report.WhichOneof("message"):
            case "node":
                write = self._reports.node_status
                await self._write_with_retries(write, stream, stream.node, report.node.status)
            case "gone":
                await self._write_with_retries(
                    self._reports.pod_gone, stream, stream.node, report.gone
                )
            case "pod":
                pod = report.pod
                await self._write_with_retries(self._reports.pod_status, stream, stream.node, pod)
                accepted = node_v1_pb2.Accepted(uid=pod.uid, sequence=pod.sequence)
                await stream.outbox.put(ToNode(accepted=accepted))

    async def _write_with_retries(self, write: Any, stream: NodeStream, *arguments: Any) -> None:
        """Carry out a write; wait while the store is away or busy, drop what is refused."""
        while True:
            try:
                await write(stream.caller, *arguments)
                return
            except StatusError as error:
                if error.code < 500 and error.code != 429:
                    if error.code != 404:
                        self._complain(stream, error.message)
                    return
                if not self._hub.is_current(stream):
                    return
                await self._clock.sleep(RETRY_SECONDS)
            except Exception:  # one report must not keep its node from reporting others
                log.exception("a report failed", extra={"object": stream.node})
                return

    async def Session(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """A stream that the node opens for a session."""
        first = await anext(request_iterator, node_v1_pb2.SessionFrame())
        name, identity = await self._caller(context, "Session")
        await self._check_trust(identity, context, "Session")
        session = self._sessions.claim(first.id, name)
        if session is None:
            await self._refuse(context, "Session", identity, _denied("no such session"))
        reading = asyncio.create_task(session.pump(request_iterator))
        shutting_out = asyncio.create_task(self._shut_out(name))
        shutting_out.add_done_callback(lambda _: session.over())
        try:
            async for frame in session.outgoing():
                yield frame
            if shutting_out.done():
                await self._check_trust(identity, context, "Session")
            yield node_v1_pb2.SessionFrame(end=True)
        finally:
            reading.cancel()
            shutting_out.cancel()
            await asyncio.gather(reading, shutting_out, return_exceptions=True)


async def _end_with_the_first(tasks: list[asyncio.Task[Any]], stream: NodeStream) -> None:
    """End a stream as soon as one of its tasks has ended; say so when that was a mistake."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a node's stream failed", extra={"object": stream.node}, exc_info=error)
    await stream.outbox.put(None)


def _denied(why: str) -> StatusError:
    return StatusError(403, "Forbidden", why)
