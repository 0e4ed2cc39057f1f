"""Strangers on the network, and holders of a join token, who do what they can to harm the master.

`python -m tests.fakes.hostile.client ADDRESS:PORT SECONDS [BEARER]` is one of them, in a process of
its own: it prints how many requests it has sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import itertools
import json
import ssl
import sys

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fakes.hostile.grpc_client import anybody

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(
    method: str, path: str, body: bytes = b"", *, bearer: str = "", extra: str = ""
) -> bytes:
    """A request of HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}"
    if bearer:
        head += f"Authorization: Bearer {bearer}\r\n"
    return head.encode() + b"\r\n" + body


BOMB = gzip.compress(b" " * (20 << 20))
OF_STRANGERS = (
    request("GET", "/" + "x" * 8000),
    request("GET", "/api/v1/pods?labelSelector=" + "a" * 7000, bearer="abcdef." + "b" * 26),
    request("POST", "/api/v1/pods", BOMB, extra="Content-Encoding: gzip\r\n"),
    request("GET", "/livez"),
    request("GET", "/readyz?verbose"),
    request("GET", "/cacerts", extra="X: " + "y" * 7000 + "\r\n"),
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00" * 100 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
)


def of_token(bearer: str) -> tuple[bytes, ...]:
    """What a holder of a join token asks."""
    spec = {"signerName": "kubernetes.io/kube-apiserver-client-kubelet", "usages": ["client auth"]}
    found = []
    for text in ("x" * 12_000, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", ""):
        encoded = base64.b64encode(text.encode()).decode()
        body = {"metadata": {"generateName": "harm-"}, "spec": {**spec, "request": encoded}}
        found.append(request("POST", CSRS, json.dumps(body).encode(), bearer=bearer))
    return (
        *found,
        request("GET", "/api/v1/secrets", bearer=bearer),
        request("POST", CSRS, b"[" * 100_000, bearer=bearer),
        request("POST", CSRS, b"{" + b'"a":1,' * 200_000 + b'"b":1}', bearer=bearer),
        request("GET", f"{CSRS}/../../../api/v1/secrets", bearer=bearer),
    )


class HostileClient:
    """Opens connections, sends what it has, reads nothing or little, and leaves some half open."""

    def __init__(
        self, address: str, port: int, context: ssl.SSLContext, requests: tuple[bytes, ...]
    ) -> None:
        self._address = address
        self._port = port
        self._context = context
        self._requests = itertools.cycle(requests)
        self.sent = 0

    async def run(self, workers: int = 4) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._ask())
            group.create_task(self._idle())

    async def _ask(self) -> None:
        while True:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                _, writer = await self._connect()
                for data in itertools.islice(self._requests, 3):
                    writer.write(data)
                    self.sent += 1
                    async with asyncio.timeout(2):
                        await writer.drain()
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _idle(self) -> None:
        """Connections without a word, or with half a header, as many as there may be."""
        held: list[Streams] = []
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                reader, writer = await self._connect()
                if len(held) % 2:
                    writer.write(b"GET / HTTP/1.1\r\nHos")
                held.append((reader, writer))
            held = [one for one in held if not one[0].at_eof()][-500:]
            await asyncio.sleep(0.01)

    async def _connect(self) -> Streams:
        return await asyncio.open_connection(self._address, self._port, ssl=self._context)


async def watch_health(port: int, ca_pem: bytes, count: int) -> int:
    """Ask for that many watches of gRPC's health service; how many of them were let in."""
    credentials = grpc.ssl_channel_credentials(ca_pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(count)]
        answers = await asyncio.gather(
            *(asyncio.wait_for(call.read(), 5) for call in calls), return_exceptions=True
        )
        for call in calls:
            call.cancel()
    return sum(isinstance(answer, health_pb2.HealthCheckResponse) for answer in answers)


async def _main() -> None:
    target, seconds, *bearer = sys.argv[1:]
    address, _, port = target.rpartition(":")
    wanted = of_token(bearer[0]) if bearer else OF_STRANGERS
    made = HostileClient(address, int(port), anybody(), wanted)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(float(seconds)):
            await made.run()
    print(made.sent)


if __name__ == "__main__":
    asyncio.run(_main())
