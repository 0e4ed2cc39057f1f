"""Random calls of the service for scripts on a running master, and what must hold of each.

The codes are those of docs/grpc.md but INTERNAL; no connection ends without an answer, no
traceback is in the log, and /livez is answered all the while. Calls go through methods of bytes, so
that a request need not be a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from common.api.scheme import SCHEME
from common.client.grpc import Settings, channel
from common.client.grpcerrors import STATUS_KEY
from protos import cluster_v1_pb2 as pb
from tests.fuzz.grammar import Grammar
from tests.fuzz.messages import Hints, Messages
from tests.fuzz.report import Report, watched
from tests.servers.master import RunningMaster

CLUSTER = "/wherry.v1.Cluster/"
UNARY = ("Get", "List", "Create", "Update", "Patch", "Delete")
STREAMS = ("Watch", "Logs", "NodeUsage")
TOOLS = {
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest,
    "/grpc.health.v1.Health/List": health_pb2.HealthListRequest,
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": (
        reflection_pb2.ServerReflectionRequest
    ),
}
PATHS = (
    *(f"{CLUSTER}{method}" for method in (*UNARY, *UNARY, *UNARY, *STREAMS)),
    *(*TOOLS, f"{CLUSTER}Nothing", "/", "//", "/x/y", "/wherry.node.v1.NodeService/Control"),
)
CODES = (
    *("OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "cut short"),
    *("UNIMPLEMENTED", "ALREADY_EXISTS", "ABORTED", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"),
)
EXPLAINED = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""As answers of the master, which come with a Status; the client's own say that none came."""
CUT_SHORT = "Internal error from Core"
"""What grpc.aio's client makes of a refusal that meets a message on its way."""
ANSWER_SECONDS = 60.0
LISTEN_SECONDS = 0.05
"""How long a stream is read."""
RESOURCES = tuple(SCHEME.resources())
SUBRESOURCES = ("status", "scale", "log", "binding", "eviction", "approval", "finalize", "x")
WEIGHTS = (80, 10, 5, 5)
"""How often each of the callers is chosen."""


class Fuzzer:
    """Callers side by side, each with a channel and a grammar of its own."""

    def __init__(self, master: RunningMaster, seed: int) -> None:
        self._master = master
        self._seed = seed
        self.report = Report()

    async def run(self, requests: int, callers: int = 8) -> Report:
        """Make that many calls."""
        async with watched(self._master, self.report):
            each = requests // callers
            await asyncio.gather(*(self._caller(self._seed + n, each) for n in range(callers)))
        return self.report

    async def _caller(self, seed: int, requests: int) -> None:
        grammar = Grammar(seed)
        named = _Named(grammar)
        messages = Messages(grammar, named.hints())
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(channel(one)) for one in self._settings()]
            for _ in range(requests):
                path = named.path = grammar.random.choice(PATHS)
                data = messages.encoded(_request(path))
                [chosen] = grammar.random.choices(opened, WEIGHTS)
                await self._call(chosen, path, data)

    def _settings(self) -> Sequence[Settings]:
        """The administrator twice, a node, and somebody with a wrong token; see WEIGHTS."""
        node = self._master.with_certificate(self._master.node_certificate("script"))
        admin = self._master.with_token(), self._master.with_certificate()
        return *admin, node, self._master.with_token("wrong")

    async def _call(self, chosen: grpc.aio.Channel, path: str, data: bytes) -> None:
        try:
            if path.endswith(("Info", "Control")):
                await _listen(chosen.stream_stream(path)(_thrice(data), timeout=ANSWER_SECONDS))
            elif path.endswith((*STREAMS, "Health/Watch")):
                await _listen(chosen.unary_stream(path)(data, timeout=ANSWER_SECONDS))
            else:
                await chosen.unary_unary(path)(data, timeout=ANSWER_SECONDS)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name if error.details() != CUT_SHORT else "cut short"
            if code not in CODES and not is_explained(error):
                self.report.faults.append(f"{code} ({error.details()}) to {path} {data[:1500]!r}")
        self.report.requests += 1
        self.report.statuses[code] += 1


def is_explained(error: grpc.aio.AioRpcError) -> bool:
    """Whether the master says why it cannot answer, and is allowed to."""
    explained = STATUS_KEY in dict(error.trailing_metadata() or ())
    return explained and error.code().name in EXPLAINED


async def _listen(call: Any) -> None:
    """Read a stream for a moment; what it ends with is raised."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):
                while await call.read() is not grpc.aio.EOF:
                    pass
    finally:
        call.cancel()


async def _thrice(data: bytes) -> AsyncIterator[bytes]:
    for _ in range(3):
        yield data


def _request(path: str) -> Any:
    """An empty message of the type that a method takes; of some other type when it is none."""
    if path in TOOLS:
        return TOOLS[path]()
    return getattr(pb, f"{path.removeprefix(CLUSTER)}Request", pb.GetRequest)()


class _Named:
    """Names and bodies of one call after the other: mostly such that the call means something."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._resource = RESOURCES[0]
        self.path = ""
        """The method that is called."""

    def _mostly(self, usual: Any, *others: Any) -> Any:
        chance = self._grammar.random
        return usual if chance.random() < 0.9 else chance.choice(others)

    def plural(self) -> str:
        """Any resource's; the rest of the call is about it."""
        self._resource = self._grammar.random.choice(RESOURCES)
        return self._resource.plural

    def namespace(self) -> str:
        """One where the resource has some."""
        usual = "default" if self._resource.namespaced else ""
        return str(self._mostly(usual, "default", "", "kube-system"))

    def name(self) -> str:
        """What is created has its name in its body."""
        return str(self._mostly("" if self.path.endswith("Create") else "fuzz", "fuzz", ""))

    def subresource(self) -> str:
        """None, mostly."""
        return str(self._mostly("", *SUBRESOURCES))

    def body(self) -> bytes:
        """Nearly an object of the resource."""
        resource = self._mostly(self._resource, *RESOURCES)
        return self._grammar.encoded(self._grammar.object(resource))

    def hints(self) -> Hints:
        """For the fields of every request."""
        choose = self._grammar.random.choice
        return {
            "plural": self.plural,
            **dict.fromkeys(("group", "version", "kind"), str),
            "namespace": self.namespace,
            "name": self.name,
            "pod": lambda: "fuzz",
            "subresource": self.subresource,
            "body": self.body,
            "service": lambda: choose(("", "wherry.v1.Cluster")),
            "encoding": lambda: choose((*[0] * 12, 1, 2)),
            "resource_version": lambda: choose(("", "", "0", "1")),
            "field_validation": lambda: choose(("", "Warn", "Strict", "Ignore")),
            "propagation_policy": lambda: choose(("", "Background", "Orphan", "Foreground")),
            "label_selector": lambda: choose(("", "", "app=web")),
            "limit": lambda: choose((0, 0, 1, 2)),
            **dict.fromkeys(("field_selector", "continue", "resource_version_match", "uid"), str),
            **dict.fromkeys(("since_time", "node", "container"), str),
        }
