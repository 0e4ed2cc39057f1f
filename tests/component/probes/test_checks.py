"""HTTP, TCP and gRPC checks against real servers."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from node.probes import answers, http
from node.probes.base import CheckFailed, HttpRequest, PlainHttp
from node.probes.network import NetworkChecks, health_request, health_status

HOST = "127.0.0.1"
CHECKS = NetworkChecks()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[bytes], bytes | None]
"""From a request's head to the whole answer; None never answers."""


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port; what it still holds goes with it."""
    stop = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            found = serve(await reader.readuntil(b"\r\n\r\n"))
            if found is None:
                await stop.wait()
            else:
                writer.write(found)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, HOST, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        stop.set()
        server.close()


def plain(code: int, body: str = "", *headers: str) -> bytes:
    """An answer."""
    head = [f"HTTP/1.1 {code} Some Words", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join([*head, "", ""]) + body).encode()


async def get(port: int, path: str = "/", *, seconds: float = 20, **fields: Any) -> http.HttpAnswer:
    """One GET."""
    request = HttpRequest(**{"scheme": "http", "host": HOST, "port": port, "path": path} | fields)
    return await CHECKS.http(request, timeout_seconds=seconds)


@pytest.mark.parametrize("code", [200, 204, 399, 400, 404, 500])
async def test_the_code_and_the_body_are_the_answer(code: int) -> None:
    async with serving(lambda head: plain(code, "hello")) as port:
        assert await get(port) == http.HttpAnswer(code, "hello" if code != 204 else "")


async def test_what_is_asked() -> None:
    heads = []

    def serve(head: bytes) -> bytes:
        heads.append(head.decode())
        return plain(200)

    async with serving(serve) as port:
        await get(port, "/a b?q=1&r=%20")
        given = (("Host", "example.com"), ("X-A", "1"), ("X-A", "2"), ("User-Agent", "me"))
        await get(port, "healthz", headers=(*given, ("Accept", "")))
    assert heads[0].split("\r\n")[:-2] == [
        "GET /a%20b?q=1&r=%20 HTTP/1.1",
        f"Host: {HOST}:{port}",
        "User-Agent: kube-probe/1.36",
        "Accept: */*",
        "Connection: close",
    ]
    assert heads[1].split("\r\n")[:-2] == [
        "GET /healthz HTTP/1.1",
        "Host: example.com",
        "X-A: 1",
        "X-A: 2",
        "User-Agent: me",
        "Connection: close",
    ]


async def test_a_body_is_read_to_its_bound_only() -> None:
    async with serving(lambda head: plain(200, "x" * 100_000)) as port:
        assert len((await get(port)).body) == 10 << 10


async def test_redirects_within_the_host_are_followed_and_others_are_not() -> None:
    def serve(head: bytes) -> bytes:
        if b"GET /elsewhere" in head:
            return plain(302, "bye", "Location: http://example.com/")
        if b"GET /round" in head:
            return plain(302, "", "Location: /round")
        if b"GET /broken" in head:
            return plain(302, "", "Location: http://[broken")
        if b"GET /end" in head:
            return plain(200, "end")
        return plain(301, "", "location: /end")

    async with serving(serve) as port:
        assert (await get(port, "/start")).body == "end"
        assert await get(port, "/elsewhere") == http.HttpAnswer(302, "bye")
        with pytest.raises(CheckFailed, match="stopped after 10 redirects"):
            await get(port, "/round")
        with pytest.raises(CheckFailed):
            await get(port, "/broken")


async def test_https_is_not_verified(tmp_path: Path) -> None:
    async with serving(lambda head: plain(200, "secret"), certificate(tmp_path)) as port:
        assert (await get(port, scheme="https")).body == "secret"
        with pytest.raises(CheckFailed):
            await get(port)


async def test_http_where_https_was_asked_for_is_told_apart() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)  # the hello of TLS, in which there is no end of a head
        writer.write(plain(400, "what?"))
        writer.close()

    server = await asyncio.start_server(refuse, HOST, 0)
    async with server:
        with pytest.raises(PlainHttp, match="http: server gave HTTP response to HTTPS client"):
            await get(server.sockets[0].getsockname()[1], scheme="https")


def certificate(directory: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody trusts and that names another host."""
    authority = CertificateAuthority.create("nobody", clock=SystemClock())
    pair = authority.issue_server("elsewhere", addresses=["192.0.2.1"])
    file = directory / "serving.pem"
    file.write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "context deadline exceeded"),
        (b"", "EOF"),
        (b"SSH-2.0-x\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "malformed HTTP response|EOF"),
    ],
)
async def test_no_good_answer(answer: bytes | None, message: str) -> None:
    async with serving(lambda head: answer) as port:
        with pytest.raises(CheckFailed, match=message):
            await get(port, seconds=1 if answer is None else 20)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\n\n", ""),
        (b"HTTP/1.1 200 OK\n\nhello", "hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 200\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\n\nhello", "hello"),
        (CHUNKED + b"3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n", "hello"),
        (CHUNKED + b"3\r\nhel\r\n5\r\nl", "hel"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 50_000 + b"\r\n\r\nhello", "hello"),
    ],
)
async def test_answers_of_all_kinds_of_servers(answer: bytes, body: str) -> None:
    async with serving(lambda head: answer) as port:
        assert await get(port) == http.HttpAnswer(200, body)


@pytest.mark.parametrize("seconds", [0, 0.4, 20])
async def test_an_answer_without_a_length_need_not_end_its_connection(seconds: float) -> None:
    stop = asyncio.Event()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(keep, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    assert await get(port, seconds=seconds) == http.HttpAnswer(200, "hello")
    stop.set()
    server.close()


@pytest.mark.parametrize(
    "head", [b"Content-Length: 5\r\n\r\nhel", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"]
)
async def test_an_answer_whose_end_is_known_and_does_not_come_is_none(head: bytes) -> None:
    stop = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(hang, HOST, 0)
    with pytest.raises(CheckFailed, match="context deadline exceeded"):
        await get(server.sockets[0].getsockname()[1], seconds=0.4)
    stop.set()
    server.close()


async def test_a_server_that_never_ends_its_chunks_is_left(tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"1;" + b"x" * 1000 + b"\r\ny\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(flood, HOST, 0)
    answer = await get(server.sockets[0].getsockname()[1])
    assert answer.code == 200
    assert set(answer.body) == {"y"}
    server.close()


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_an_answer_or_none(text: bytes, headed: bool) -> None:
    if headed:
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text
    try:
        taken = answers.take_head(text)
    except answers.Malformed:
        return
    if taken is not None:
        head, rest = taken
        assert head.code == 101 or head.code >= 200
        whole = answers.take_body(head, rest)
        assert len(answers.begun(head, rest) if whole is None else whole) <= 10 << 10


async def test_a_line_end_in_a_header_is_no_second_header() -> None:
    async with serving(lambda head: plain(200)) as port:
        with pytest.raises(CheckFailed):
            await get(port, headers=(("X", "1\r\nY: 2"),))


async def closed_port() -> int:
    """A port on which nobody listens."""
    server = await asyncio.start_server(lambda r, w: None, HOST, 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_a_refused_connection() -> None:
    port = await closed_port()
    refused = f"dial tcp {HOST}:{port}: connect: connection refused"
    with pytest.raises(CheckFailed, match=refused):
        await CHECKS.tcp(HOST, port, timeout_seconds=20)
    with pytest.raises(CheckFailed, match=f'Get "http://{HOST}:{port}/": {refused}'):
        await get(port)
    with pytest.raises(CheckFailed, match="error: health rpc probe failed: UNAVAILABLE"):
        await CHECKS.grpc(HOST, port, "", timeout_seconds=20)


async def test_an_open_port_is_enough_for_tcp() -> None:
    async with serving(lambda head: None) as port:
        await CHECKS.tcp(HOST, port, timeout_seconds=20)


Method = Callable[[bytes, Any], Awaitable[bytes]]


@asynccontextmanager
async def health_server(check: Method | None) -> AsyncIterator[int]:
    """A gRPC server with that Check, or without the health protocol."""
    server = grpc.aio.server()
    if check is not None:
        handler = grpc.unary_unary_rpc_method_handler(check)
        methods = {"Check": handler}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),)
        )
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_grpc_health() -> None:
    async def check(request: bytes, context: Any) -> bytes:
        if request == health_request("hangs"):
            await asyncio.Event().wait()
        return b"\x08\x01" if request in (b"", health_request("good")) else b"\x08\x02"

    async with health_server(check) as port:
        await CHECKS.grpc(HOST, port, "", timeout_seconds=20)
        await CHECKS.grpc(HOST, port, "good", timeout_seconds=20)
        with pytest.raises(
            CheckFailed, match=r"service unhealthy \(responded with \"NOT_SERVING\"\)"
        ):
            await CHECKS.grpc(HOST, port, "bad", timeout_seconds=20)
        with pytest.raises(CheckFailed, match="timeout: health rpc did not complete within 1s"):
            await CHECKS.grpc(HOST, port, "hangs", timeout_seconds=1)


async def test_a_server_without_the_health_protocol() -> None:
    async with health_server(None) as port:
        with pytest.raises(CheckFailed, match="does not implement the grpc health protocol"):
            await CHECKS.grpc(HOST, port, "", timeout_seconds=20)


def test_the_wire_format_of_health() -> None:
    assert health_request("") == b""
    assert health_request("web") == b"\x0a\x03web"
    assert health_request("x" * 200)[:3] == b"\x0a\xc8\x01"
    assert [health_status(answer) for answer in (b"", b"\x08\x01", b"\x08\x02")] == [0, 1, 2]
