"""The Checks protocol on this machine's network, never through a proxy."""

from __future__ import annotations

import asyncio
from typing import Any

from node import version
from node.probes import http
from node.probes.base import CheckFailed, HttpAnswer, HttpRequest

SERVING = 1
_STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CHECK = "/grpc.health.v1.Health/Check"
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.primary_user_agent", f"kube-probe/{version.MINOR}"),
)


class NetworkChecks:
    """Looks at containers from this machine, a new connection each time."""

    async def http(self, request: HttpRequest, *, timeout_seconds: float) -> HttpAnswer:
        """The answer to a GET."""
        return await http.get(request, timeout_seconds)

    async def tcp(self, host: str, port: int, *, timeout_seconds: float) -> None:
        """Open a connection and close it."""
        where = http.address(host, port)
        try:
            async with asyncio.timeout(timeout_seconds or None):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            raise CheckFailed(f"dial tcp {where}: i/o timeout") from None
        except OSError as error:
            raise CheckFailed(f"dial tcp {where}: {http.dial_reason(error)}") from error
        writer.close()

    async def grpc(self, host: str, port: int, service: str, *, timeout_seconds: float) -> None:
        """Ask grpc.health.v1 without its generated code: a request is one string."""
        from grpc import aio

        where = http.address(host, port)
        async with aio.insecure_channel(where, options=_OPTIONS) as channel:
            check: Any = channel.unary_unary(_CHECK)
            try:
                answer = await check(health_request(service), timeout=timeout_seconds or None)
            except aio.AioRpcError as error:
                said = _failure(error.code().name, error.details() or "", timeout_seconds)
                raise CheckFailed(said) from error
        status = health_status(answer)
        if status != SERVING:
            name = _STATUS_NAMES.get(status, str(status))
            raise CheckFailed(f'service unhealthy (responded with "{name}")')


def _failure(code: str, details: str, timeout_seconds: float) -> str:
    """What a call that failed means for people."""
    if code == "DEADLINE_EXCEEDED":
        return f"timeout: health rpc did not complete within {timeout_seconds:g}s"
    if code == "UNIMPLEMENTED":
        protocol = "the grpc health protocol (grpc.health.v1.Health)"
        return f"error: this server does not implement {protocol}: {details}"
    return f"error: health rpc probe failed: {code}: {details}"


def health_request(service: str) -> bytes:
    """A grpc.health.v1.HealthCheckRequest: field 1 is the service's name."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def health_status(answer: bytes) -> int:
    """The status of a grpc.health.v1.HealthCheckResponse: field 1, 0 when it is left out."""
    return answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
