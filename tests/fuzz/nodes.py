"""Machines with certificates of nodes that send random messages to a running master.

Each holds its control stream, reports on pods that are bound to it and on others, answers the
sessions that it is asked for, opens some that nobody has asked for, and reads the gateway that
kube-proxy reads. No stream ends for a reason that is the master's, no traceback is in the log, an
administrator is answered, and a well-behaved node is Ready all the while.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from aetcd.rpc import rpc_pb2

from common.client.grpc import GrpcClient, channel
from master.apiserver.rpc.gateway import PREFIXES
from protos import node_v1_pb2
from protos.cluster_v1_pb2 import LogsRequest
from tests.fakes.hostile.good_node import hold, is_ready
from tests.fuzz.connection import Connection
from tests.fuzz.grammar import Grammar, seed_of
from tests.fuzz.messages import Hints, Messages
from tests.fuzz.report import Report, watched
from tests.fuzz.rpc import CUT_SHORT, is_explained
from tests.servers.master import RunningMaster

SERVICE = "/wherry.node.v1.NodeService/"
KV, WATCH = "/etcdserverpb.KV/", "/etcdserverpb.Watch/Watch"
PODS = "/api/v1/namespaces/default/pods"
OF_THE_MASTER = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"})
"""Codes that say that the master is to blame, unless they come with one of EXPECTED."""
EXPECTED = (CUT_SHORT, "there is no Node")
RANGE_LIMITS = (
    *("sort_target", "min_mod_revision", "max_mod_revision"),
    *("min_create_revision", "max_create_revision"),
)
LISTEN_SECONDS = 0.1
READY_SECONDS = 1.0
ADMIN_STATUSES = frozenset({200, 201, 400, 404, 409, 422, 429, 502, 503, 504})
LOG_BYTES_PER_MESSAGE = 400
STREAM_MESSAGES = (1, 3, 20, 200, 2000)


class Fuzzer:
    """Hostile nodes side by side, an administrator with pods on them, and one good node."""

    def __init__(self, master: RunningMaster, seed: int, *, nodes: int = 6) -> None:
        self._master = master
        self._seed = seed
        self._names = [f"hostile{number}" for number in range(nodes)]
        self.report = Report()

    async def run(self, messages: int) -> Report:
        """Send that many messages."""
        each = messages // len(self._names)
        good = self._master.with_certificate(self._master.node_certificate("good"))
        async with watched(self._master, self.report), channel(good) as opened:
            holding = asyncio.create_task(hold(opened, "good"))
            while not await asyncio.to_thread(is_ready, self._master, "good"):
                await asyncio.sleep(READY_SECONDS)
            beside = (self._look(), self._administrate(), self._read_logs())
            others = [holding, *map(asyncio.create_task, beside)]
            hostile = [
                asyncio.create_task(_HostileNode(self, name, self._seed + n).run(each))
                for n, name in enumerate(self._names)
            ]
            done = asyncio.gather(*hostile)
            await asyncio.wait([done, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in (*others, *hostile):
                task.cancel()
            ended = await asyncio.gather(*others, *hostile, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                self.report.faults.append(f"it ended: {error!r}")
        self._check_after()
        return self.report

    @property
    def master(self) -> RunningMaster:
        """The master that they talk to."""
        return self._master

    def note(self, what: str, code: str, details: str = "") -> None:
        """How a call of a node has ended."""
        self.report.statuses[f"{what.split()[0].rpartition('/')[2]} {code}"] += 1
        if code in OF_THE_MASTER and not details.startswith(EXPECTED):
            self.report.faults.append(f"{code} ({details}) to {what}")

    async def _look(self) -> None:
        """The good node stays Ready."""
        while True:
            if not await asyncio.to_thread(is_ready, self._master, "good"):
                self.report.faults.append("the good node was not Ready")
            await asyncio.sleep(READY_SECONDS)

    async def _administrate(self) -> None:
        """Make pods on the hostile nodes, read their logs, delete them."""
        grammar, connection = Grammar(self._seed), Connection(self._master)
        try:
            while True:
                name = grammar.random.choice(self._names)
                pod = {"apiVersion": "v1", "kind": "Pod", **seed_of("Pod")}
                pod["metadata"] = {"name": name}
                pod["spec"]["nodeName"] = name
                await self._ask(connection, "POST", PODS, json.dumps(pod).encode())
                for _ in range(grammar.random.randrange(8)):
                    await self._ask(connection, "GET", f"{PODS}/{name}/log?tailLines=3")
                await self._ask(connection, "GET", "/apis/metrics.k8s.io/v1beta1/nodes")
                if grammar.random.random() < 0.3:
                    await self._ask(connection, "DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        finally:
            connection.close()

    async def _read_logs(self) -> None:
        """Over gRPC, of pods on the hostile nodes; the master explains what comes of it."""
        grammar = Grammar(self._seed)
        async with GrpcClient(channel(self._master.with_token())) as client:
            while True:
                name = grammar.random.choice(self._names)
                call = client.stub.Logs(LogsRequest(namespace="default", pod=name, tail_lines=3))
                try:
                    async for _ in call:
                        pass
                    self.note("Logs", "OK")
                except grpc.aio.AioRpcError as error:
                    code, explained = error.code().name, is_explained(error)
                    self.note("Logs", code, EXPECTED[0] if explained else error.details() or "")

    async def _ask(
        self, connection: Connection, method: str, target: str, body: bytes = b""
    ) -> None:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            status, alive = await connection.send(method, target, headers, body)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.report.faults.append(f"no answer ({error!r}) to {method} {target}")
            status, alive = 0, False
        self.report.statuses[status] += 1
        if status not in ADMIN_STATUSES:
            self.report.faults.append(f"{status} to {method} {target}")
        # A log that a node cuts off ends without its end: the connection is closed then.
        if not alive:
            connection.close()

    def _check_after(self) -> None:
        if not is_ready(self._master, "good"):
            self.report.faults.append("the good node is not Ready afterwards")
        status, body = self._master.admin().request("GET", "/readyz?verbose")
        if status != 200 or b"[-]" in body:
            self.report.faults.append(f"/readyz?verbose: {body.decode()}")
        log_bytes = self._master.log.stat().st_size
        if log_bytes > 1_000_000 + LOG_BYTES_PER_MESSAGE * self.report.requests:
            self.report.faults.append(f"the log has {log_bytes} bytes")


class _HostileNode:
    """One of them."""

    def __init__(self, run: Fuzzer, name: str, seed: int) -> None:
        self._run = run
        self._name = name
        self._grammar = Grammar(seed)
        self._messages = Messages(self._grammar, _hints(self._grammar, self))
        self.uids = ["", "u"]
        """Of the pods that the master has told it of."""
        self.sent = 0
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self._name

    async def run(self, messages: int) -> None:
        """Open streams and send that many messages on them in all."""
        settings = self._run.master.with_certificate(self._run.master.node_certificate(self._name))
        while self.sent < messages:
            async with channel(settings) as opened:
                for _ in range(4):
                    wanted = self._grammar.random.choice(STREAM_MESSAGES)
                    await self._control(opened, min(wanted, messages - self.sent))
                    await self._read_gateway(opened)
                    await self._open_sessions(opened, self._grammar.word())
                await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _control(self, opened: grpc.aio.Channel, messages: int) -> None:
        """One control stream."""
        told = node_v1_pb2.ToNode.FromString
        done = asyncio.Event()
        requests = self._requests(messages, done)
        call = opened.stream_stream(f"{SERVICE}Control", None, told)(requests)
        reading = asyncio.create_task(self._follow(opened, call))
        finished = asyncio.create_task(done.wait())
        await asyncio.wait({reading, finished}, return_when=asyncio.FIRST_COMPLETED)
        if self._grammar.random.random() < 0.5:
            call.cancel()  # otherwise the end of its requests ends the call
        await reading
        finished.cancel()

    async def _requests(self, messages: int, done: asyncio.Event) -> AsyncIterator[bytes]:
        """Hello, mostly, and then anything; bytes that are no message end a stream."""
        damage = self._grammar.random.choice((0.0, 0.0, 0.0, 0.1))
        if self._grammar.random.random() < 0.9:
            yield self._hello()
        for _ in range(messages):
            self.sent += 1
            self._run.report.requests += 1
            yield self._messages.encoded(node_v1_pb2.FromNode(), damage)
        done.set()

    def _hello(self) -> bytes:
        node = {"metadata": {"name": self._name}, "status": {"conditions": []}}
        for _ in range(self._grammar.random.choice((0, 0, 1, 3))):
            self._grammar.mutate(node)
        hello = node_v1_pb2.Hello(node_name=self._name, node=json.dumps(node).encode())
        return bytes(node_v1_pb2.FromNode(hello=hello).SerializeToString())

    async def _follow(self, opened: grpc.aio.Channel, call: Any) -> None:
        """Hear what the master says: pods that are there, and sessions that it asks for."""
        try:
            async for told in call:
                if told.HasField("pod"):
                    self.uids.append(json.loads(told.pod.pod)["metadata"]["uid"])
                    del self.uids[2:-3]
                elif told.HasField("session"):
                    task = asyncio.create_task(self._open_sessions(opened, told.session.id))
                    self._sessions.add(task)
                    task.add_done_callback(self._sessions.discard)
            self._run.note("Control", "OK")
        except grpc.aio.AioRpcError as error:
            self._run.note("Control", error.code().name, error.details() or "")
        except asyncio.CancelledError:
            self._run.note("Control", "CANCELLED")

    async def _open_sessions(self, opened: grpc.aio.Channel, name: str) -> None:
        """A session stream with frames of any kind."""

        async def frames() -> AsyncIterator[bytes]:
            printable = name.encode("utf-8", "replace").decode()
            yield bytes(node_v1_pb2.SessionFrame(id=printable).SerializeToString())
            for _ in range(self._grammar.random.choice((0, 1, 3, 12))):
                yield self._messages.encoded(node_v1_pb2.SessionFrame())

        await self._short(opened, f"{SERVICE}Session", frames())

    async def _read_gateway(self, opened: grpc.aio.Channel) -> None:
        """Ranges, watches, and what is not served."""

        async def watches() -> AsyncIterator[bytes]:
            for _ in range(self._grammar.random.choice((1, 3, 40))):
                yield self._messages.encoded(rpc_pb2.WatchRequest())

        await self._short(opened, WATCH, watches())
        for _ in range(10):
            method = self._grammar.random.choice((*["Range"] * 12, "Put", "Txn"))
            data = self._messages.encoded(rpc_pb2.RangeRequest())
            self._run.report.requests += 1
            try:
                await opened.unary_unary(f"{KV}{method}")(data, timeout=60)
                self._run.note(f"{KV}{method}", "OK")
            except grpc.aio.AioRpcError as error:
                what = f"{KV}{method} {data!r}"
                self._run.note(what, error.code().name, error.details() or "")

    async def _short(self, opened: grpc.aio.Channel, path: str, requests: Any) -> None:
        """A stream that is heard for a moment."""
        self._run.report.requests += 1
        call = opened.stream_stream(path)(requests)
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                while await call.read() is not grpc.aio.EOF:
                    pass
            self._run.note(path, "OK")
        except TimeoutError:
            self._run.note(path, "CANCELLED")
        except grpc.aio.AioRpcError as error:
            self._run.note(path, error.code().name, error.details() or "")
        finally:
            call.cancel()


def _hints(grammar: Grammar, node: _HostileNode) -> Hints:
    """What a node knows of itself and its pods, and keys that the gateway serves."""
    choose, odds = grammar.random.choice, grammar.random.random

    def mutated(plain: dict[str, Any]) -> bytes:
        for _ in range(choose((0, 0, 0, 1, 3))):
            grammar.mutate(plain)
        return grammar.encoded(plain)

    def node_status() -> bytes:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        address = {"type": "InternalIP", "address": "127.0.0.1"}
        amounts = {"cpu": "4", "memory": "1Gi", "pods": "110"}
        status = {"conditions": [ready], "addresses": [address], "capacity": amounts}
        return mutated({**status, "allocatable": dict(amounts), "images": [{"names": ["i"]}]})

    def pod_status() -> bytes:
        container = {"name": "c", "ready": True, "state": {"running": {}}, "restartCount": 1}
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": choose(("Running", "Failed", "Succeeded")), "podIP": "10.42.0.9"}
        return mutated({**status, "conditions": [ready], "containerStatuses": [container]})

    def reference() -> bytes:
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": node.name}
        return mutated({**about, "uid": choose(node.uids)})

    def key() -> bytes:
        made = choose(PREFIXES).encode()
        return made + b"default/kubernetes" if odds() < 0.3 else made

    return {
        "namespace": lambda: "default",
        "PodReport.name": lambda: node.name,
        "PodGone.name": lambda: node.name,
        "PodUsage.name": lambda: node.name,
        "uid": lambda: choose(node.uids),
        "NodeReport.status": node_status,
        "PodReport.status": pod_status,
        "involved_object": reference,
        "type": lambda: choose(("Normal", "Warning")),
        "timestamp_ms": lambda: choose((0, 1_790_000_000_000)),
        "window_ms": lambda: 10_000,
        "load_1m": lambda: 0.5,
        "SessionFrame.id": str,
        "SessionFrame.error": lambda: mutated({"code": 404, "reason": "NotFound", "message": "m"}),
        "sort_order": lambda: choose((0, 0, 1)),
        "revision": lambda: choose((0, 0, 1)),
        "start_revision": lambda: choose((0, 0, 1, 300)),
        "watch_id": lambda: choose((0, 0, 1, 2, 3)),
        **dict.fromkeys(RANGE_LIMITS, int),
        "key": key,
        "range_end": lambda: choose((b"", choose(PREFIXES)[:-1].encode() + b"0")),
    }
