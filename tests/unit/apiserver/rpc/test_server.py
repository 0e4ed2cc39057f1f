"""The listeners of gRPC: who connects and says nothing does not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from master.apiserver.rpc import server
from master.apiserver.rpc.calllimits import Account, CallLimiter
from tests.fakes.hostile.grpc_client import anybody
from tests.servers.ports import free_ports

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The preface of HTTP/2, and settings without any."""


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A listener without client certificates."""
    monkeypatch.setattr(server, "IDLE_MS", 200)
    [free] = free_ports(1)
    pair = CertificateAuthority.create("test", SystemClock()).issue_server("wherry")
    now = server.Certificates(pair.certificate_pem, pair.key_pem, b"")
    listener = server.Listener(f"127.0.0.1:{free}", lambda: now)
    door = CallLimiter(lambda context: Account("x", known=False, unbounded=False))
    made = await server.serve(listener, [], [], door)
    yield free
    await made.stop(None)


async def test_a_stranger_without_a_call_is_sent_away(port: int) -> None:
    """Otherwise a thousand of them would keep everybody out for ever."""
    context = anybody()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(HELLO)
    async with asyncio.timeout(20):
        while await reader.read(1000):
            pass
    writer.close()
