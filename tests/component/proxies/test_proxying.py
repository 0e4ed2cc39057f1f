"""Requests to programs in pods, on a server of aiohttp; some programs are hostile."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from yarl import URL

from common.api import errors
from common.api.errors import StatusError
from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority
from master.apiserver.rest.proxies import proxying
from master.apiserver.rest.proxies.exchange import HEAD_MAX_BYTES
from tests.component.proxies.program import (
    HOST,
    PREFIX,
    UNREAD_MAX,
    Program,
    serve_tls,
    serving,
    until,
)

SECONDS = 20.0
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
PIECE = bytes(64 << 10)
KERNEL_BYTES = 32 << 20
"""What its buffers take of a connection, and more."""


def saying(*pieces: bytes) -> Program:
    """One that hears a request's head, answers so, and closes."""

    async def script(program: Program) -> None:
        await program.hears_head()
        for piece in pieces:
            await program.says(piece)
        await program.ends()

    return Program(script)


def url(server: TestServer, path: str = "/") -> URL:
    return URL(f"{server.make_url('')}".rstrip("/") + PREFIX + path, encoded=True)


async def asked(
    program: Program, method: str = "GET", path: str = "/", **options: object
) -> tuple[aiohttp.ClientResponse, bytes]:
    """An answer and its body; raises ClientError for one that breaks off."""
    async with asyncio.timeout(SECONDS), serving(program) as server, ClientSession() as session:
        options.setdefault("allow_redirects", False)
        async with session.request(method, url(server, path), **options) as response:  # type: ignore[arg-type]
            return response, await response.read()


async def refused(program: Program) -> tuple[int, str]:
    """(code, message) of a Status."""
    response, body = await asked(program)
    return response.status, json.loads(body)["message"]


async def test_an_answer_comes_with_its_status_and_headers() -> None:
    program = saying(
        b"HTTP/1.1 418 Tea\r\nX-Own: a\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 5\r\n\r\nhello"
    )
    response, body = await asked(program, path="/a%2Fb//c/?q=%20x&q")
    assert (response.status, response.reason, body) == (418, "Tea", b"hello")
    assert response.headers["X-Own"] == "a"
    assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
    assert program.heard.startswith(b"GET /a%2Fb//c/?q=%20x&q HTTP/1.1\r\n")
    assert program.left.is_set()


@pytest.mark.parametrize("method", ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"])
async def test_every_method_is_passed_on(method: str) -> None:
    program = saying(HELLO)
    response, body = await asked(program, method, "/x")
    assert (response.status, body) == (200, b"hello")
    assert program.heard.startswith(f"{method} /x HTTP/1.1\r\n".encode())


async def test_the_answer_to_head_has_no_body() -> None:
    program = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    response, body = await asked(program, "HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, "5", b"")


@pytest.mark.parametrize("code", [204, 304])
async def test_an_answer_may_have_no_body(code: int) -> None:
    program = saying(b"HTTP/1.1 %d X\r\nETag: a\r\n\r\n" % code)
    response, body = await asked(program)
    assert (response.status, response.headers["ETag"], body) == (code, "a", b"")


@pytest.mark.parametrize("path", [PREFIX.replace("y", "%79"), f"/{PREFIX}"])
async def test_another_way_to_write_the_path_is_refused(path: str) -> None:
    """A redirect from it would lead elsewhere."""
    async with serving(saying(HELLO)) as server, ClientSession() as session:
        url = URL(f"http://{server.host}:{server.port}{path}", encoded=True)
        async with session.get(url, allow_redirects=False) as response:
            assert response.status == 404


async def test_a_body_that_breaks_off_ends_the_connection() -> None:
    program = Program(lambda program: _for_ever())
    async with asyncio.timeout(SECONDS), serving(program) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        head = f"POST {PREFIX}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        await program.hears_head()
        program.requests[0].content.set_exception(web.RequestPayloadError("as aiohttp's parser"))
        await program.left.wait()
        assert b"200" not in await reader.read()
        writer.close()


async def test_a_path_without_a_slash_is_sent_to_that_with_one() -> None:
    """The links of the page there are relative to it."""
    program = saying(HELLO)
    response, _ = await asked(program, path="?a=b")
    assert (response.status, response.headers["Location"]) == (301, f"{PREFIX}/?a=b")
    assert not program.heard
    response, _ = await asked(saying(HELLO), "POST", "")
    assert response.status == 200


async def test_a_redirect_is_the_clients_to_follow() -> None:
    program = saying(
        b"HTTP/1.1 302 Found\r\nLocation: http://%s/login\r\n" % HOST.encode()
        + b"Content-Length: 0\r\n\r\n"
    )
    response, _ = await asked(program)
    assert (response.status, response.headers["Location"]) == (302, f"{PREFIX}/login")


async def test_links_of_pages_lead_through_the_proxy() -> None:
    page = b'<a href="/rewriteme">test</a>'
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
    )
    response, body = await asked(saying(head % len(page) + page[:12], page[12:]))
    assert body.decode() == f'<a href="{PREFIX}/rewriteme">test</a>'
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_is_passed_on_as_it_is_framed(chunked: bool) -> None:
    async def script(program: Program) -> None:
        while not program.heard.endswith(b"0\r\n\r\n" if chunked else b"body"):
            await program.hears()
        await program.says(HELLO)

    async def parts():  # type: ignore[no-untyped-def]
        yield b"bo"
        yield b"dy"

    program = Program(script)
    _, body = await asked(program, "POST", data=parts() if chunked else b"body")
    assert body == b"hello"
    head, _, sent = program.heard.partition(b"\r\n\r\n")
    assert (b"transfer-encoding: chunked" in head.lower()) == chunked
    assert (b"content-length: 4" in head.lower()) != chunked
    assert sent.count(b"bo") == 1


async def test_an_answer_may_come_before_the_body_is_read() -> None:
    async def script(program: Program) -> None:
        await program.hears_head()
        await program.says(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        await program.ends()

    response, _ = await asked(Program(script), "POST", data=bytes(1 << 20))
    assert response.status == 413


async def test_a_program_speaks_tls(tmp_path: Path) -> None:
    """Whoever has issued its certificate."""
    authority = CertificateAuthority.create("unknown", SystemClock())
    pair = authority.issue_server("elsewhere", addresses=[])
    file = tmp_path / "pair.pem"
    file.write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    program = Program(lambda program: serve_tls(program, context, HELLO), is_tls=True)
    _, body = await asked(program)
    assert body == b"hello"


async def test_what_is_no_tls_is_told() -> None:
    async def script(program: Program) -> None:
        await program.says(HELLO)
        await program.ends()

    code, message = await refused(Program(script, is_tls=True))
    assert code == 503
    assert message.startswith("error trying to reach service: TLS: ")


async def test_a_pod_that_cannot_be_reached_is_told() -> None:
    program = saying()
    program.refusal = errors.unavailable("node n1 is not connected")
    assert await refused(program) == (503, "node n1 is not connected")


async def test_an_answer_that_is_no_http_is_told() -> None:
    for nonsense in (
        b"hello\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ):
        code, message = await refused(saying(nonsense))
        assert (code, message[:31]) == (503, "error trying to reach service: ")


async def test_a_head_without_end_is_given_up() -> None:
    async def script(program: Program) -> None:
        await program.says(b"HTTP/1.1 200 OK\r\n")
        while True:
            await program.says(b"X-More: " + bytes(b"x" * 4096) + b"\r\n")

    program = Program(script)
    code, _ = await refused(program)
    assert code == 503
    assert program.said_bytes < HEAD_MAX_BYTES + (UNREAD_MAX + 2) * 5000
    assert program.left.is_set()


async def test_a_program_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxying, "ANSWER_SECONDS", 0.0)
    code, message = await refused(Program(lambda program: _for_ever()))
    assert (code, message) == (504, "the pod did not answer in time")


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_client_that_leaves_ends_the_connection() -> None:
    program = Program(lambda program: _for_ever())
    async with asyncio.timeout(SECONDS):
        async with serving(program) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"GET {PREFIX}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await program.hears_head()
            writer.close()
            await program.left.wait()
            assert await reader.read() == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("by_node", [True, False])
async def test_an_answer_that_breaks_off_does_not_pass_for_whole(
    framing: bytes, by_node: bool
) -> None:
    async def script(program: Program) -> None:
        await program.hears_head()
        await program.says(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nhello\r\n")
        if by_node:
            await program.breaks(StatusError(503, "ServiceUnavailable", "gone"))
        else:
            await program.ends()

    with pytest.raises(aiohttp.ClientError):
        await asked(Program(script))


async def test_a_client_that_does_not_read_holds_the_program_back() -> None:
    """Only so much of an answer of any size is on its way."""

    async def script(program: Program) -> None:
        await program.hears_head()
        await program.says(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(4096):
            await program.says(PIECE)
        await program.ends()

    program = Program(script)
    async with asyncio.timeout(60), serving(program) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        writer.write(f"GET {PREFIX}/ HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: program.is_held_back)
        assert program.said_bytes < KERNEL_BYTES
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
        writer.close()
    assert size == 4096 * len(PIECE)


async def test_a_program_that_does_not_read_holds_the_client_back() -> None:
    program = Program(lambda program: _for_ever())
    sent = 0
    async with asyncio.timeout(60), serving(program) as server:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            f"POST {PREFIX}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n".encode()
        )

        async def send() -> None:
            nonlocal sent
            while True:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)

        sending = asyncio.create_task(send())
        await until(lambda: program.holds_back)
        assert sent < KERNEL_BYTES
        sending.cancel()
        await program.breaks(StatusError(503, "ServiceUnavailable", "gone"))
        await program.left.wait()
        writer.transport.abort()


async def test_a_websocket_passes_both_ways() -> None:
    async def script(program: Program) -> None:
        await program.hears_head()
        await program.says(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x-echo\r\n"
            b"X-Own: a\r\n\r\nfirst"
        )
        while True:
            await program.says((await program.hears()).upper())

    program = Program(script)
    async with asyncio.timeout(SECONDS), serving(program) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            f"GET {PREFIX}/ HTTP/1.1\r\nHost: x\r\n".encode()
            + b"Connection: Upgrade\r\nUpgrade: x-echo\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nUpgrade: x-echo\r\n" in head
        assert b"\r\nX-Own: a\r\n" in head
        assert await reader.readexactly(5) == b"first"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.close()
        await program.left.wait()


async def test_a_program_may_refuse_to_switch() -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "x-echo"}
    response, body = await asked(saying(HELLO), headers=upgrade)
    assert (response.status, body) == (200, b"hello")
