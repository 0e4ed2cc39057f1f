"""Random requests to a running master, and what must hold of every answer.

No 5xx but 503 and 504, no connection that ends without an answer, no traceback in the log, and
/livez is answered all the while.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

from common.api.resource import Resource
from common.api.scheme import SCHEME
from master.apiserver.rest.openapi.operations import path_of
from tests.fuzz.connection import Connection
from tests.fuzz.grammar import WORDS, Grammar
from tests.fuzz.report import Report, watched
from tests.servers.master import RunningMaster

METHODS = ("GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS", "X")
BODIES = (
    "application/json",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
)
ACCEPTS = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "*/*",
    "text/html",
    "",
)
RESOURCES = tuple(SCHEME.resources())
SUBRESOURCES = ("status", "scale", "log", "binding", "eviction", "approval", "finalize", "x")
PARAMETERS = (
    *("limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "watch"),
    *("fieldSelector", "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "force"),
    *(
        "gracePeriodSeconds",
        "propagationPolicy",
        "tailLines",
        "sinceSeconds",
        "sinceTime",
        "pretty",
    ),
    *("allowWatchBookmarks", "sendInitialEvents", "includeObject", "container", "previous"),
)
UNAVAILABLE = (503, 504)


class Fuzzer:
    """A number of connections, each with a grammar of its own."""

    def __init__(self, master: RunningMaster, seed: int) -> None:
        self._master = master
        self._seed = seed
        self.report = Report()

    async def run(self, requests: int, connections: int = 4) -> Report:
        """Send that many requests."""
        each = requests // connections
        async with watched(self._master, self.report):
            await asyncio.gather(*(self._client(self._seed + n, each) for n in range(connections)))
        return self.report

    async def _client(self, seed: int, requests: int) -> None:
        grammar, connection = Grammar(seed), Connection(self._master)
        for _ in range(requests):
            request = _request(grammar)
            try:
                status, alive = await connection.send(*request)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.report.faults.append(f"no answer ({error!r}) to {_shown(request)}")
                status, alive = 0, False
            self.report.requests += 1
            self.report.statuses[status] += 1
            if status >= 500 and status not in UNAVAILABLE:
                self.report.faults.append(f"{status} to {_shown(request)}")
            if not alive:
                connection.close()
        connection.close()


def _request(grammar: Grammar) -> tuple[str, str, dict[str, str], bytes]:
    """(method, target, headers, body)."""
    choose = grammar.random.choice
    method, accept, kind = choose(METHODS), choose(ACCEPTS), choose(BODIES)
    body, resource = b"", choose(RESOURCES)
    if method in ("POST", "PUT", "PATCH", "DELETE") and grammar.random.random() < 0.9:
        body = grammar.encoded(grammar.one(*[lambda: grammar.object(resource)] * 4, grammar.value))
        body = grammar.one(*[lambda: body] * 6, grammar.bytes)
    target = f"{_path(grammar, resource, method)}{_query(grammar)}"
    return method, target, {"Accept": accept, "Content-Type": kind}, body


def _path(grammar: Grammar, resource: Resource, method: str) -> str:
    choose, odds = grammar.random.choice, grammar.random.random
    if odds() < 0.03:
        words = [choose(WORDS) for _ in range(grammar.random.randrange(6))]
        return "/" + "/".join(quote(word, safe="") for word in words)
    parts = [f"/{path_of(resource)}"]
    if resource.namespaced == (odds() < 0.95):
        parts += ["namespaces", choose((*["default"] * 8, "kube-system", _quoted(grammar)))]
    parts.append(resource.plural)
    if odds() < (0.1 if method == "POST" else 0.8):
        parts.append(choose((*["fuzz"] * 8, _quoted(grammar))))
        if odds() < 0.25:
            parts.append(choose(SUBRESOURCES))
    return "/".join(part for part in parts if part)


def _quoted(grammar: Grammar) -> str:
    return quote(grammar.word()[:200].encode("utf-8", "surrogatepass"), safe="")


def _query(grammar: Grammar) -> str:
    """Watches end by themselves: each has a time limit of a second."""
    chosen = [grammar.random.choice(PARAMETERS) for _ in range(grammar.random.choice((0, 0, 1, 2)))]
    pairs = [f"{name}={_quoted(grammar)}" for name in chosen]
    if any(name in ("watch", "sendInitialEvents") for name in chosen):
        pairs.insert(0, "timeoutSeconds=1")
    return f"?{'&'.join(pairs)}" if pairs else ""


def _shown(request: tuple[str, str, dict[str, str], bytes]) -> str:
    method, target, headers, body = request
    return json.dumps([method, target[:300], headers, repr(body[:1500])])
