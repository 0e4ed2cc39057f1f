"""What the kubelet asks of whoever looks at a container from outside: a protocol and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

BODY_MAX_BYTES = 10 << 10


class CheckFailed(Exception):
    """No good answer: the message is for people, in the words that Kubernetes uses."""


class PlainHttp(CheckFailed):
    """HTTPS was asked for, and HTTP has answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A GET. `path` may hold a query; `headers` keep their order and may repeat."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    headers: Sequence[tuple[str, str]] = ()
    agent: str = "probe"
    """What the User-Agent says that it is for."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status code and the beginning of the body."""

    code: int
    body: str


class Checks(Protocol):
    """Looks at containers over the network. Every call ends within its timeout."""

    async def http(self, request: HttpRequest, *, timeout_seconds: float) -> HttpAnswer:
        """The answer to a GET; redirects to the same host are followed, others are the answer.

        Certificates are not verified. Raises CheckFailed when there is no answer.
        """
        ...

    async def tcp(self, host: str, port: int, *, timeout_seconds: float) -> None:
        """Open a connection and close it. Raises CheckFailed."""
        ...

    async def grpc(self, host: str, port: int, service: str, *, timeout_seconds: float) -> None:
        """Ask grpc.health.v1. Raises CheckFailed unless the answer is SERVING."""
        ...
