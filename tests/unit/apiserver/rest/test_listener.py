"""A listener begins few handshakes in a turn of the loop, and what fails is one client's."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from common.runtime.clock import SystemClock
from common.security.ca import SERVER, CertificateAuthority, Leaf
from master.apiserver.rest import listener
from master.apiserver.rest.listener import BEGUN_A_TURN, Listener


class Context(ssl.SSLContext):
    """Counts the handshakes that are begun in each turn of the loop."""

    turn = 0
    begun: Counter[int]

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        self.begun[self.turn] += 1
        return super().wrap_bio(*arguments, **named)

    def count(self) -> None:
        """Know the turns from now on."""
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.count)


class Greeter(asyncio.Protocol):
    """Greets whoever is connected, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


class Full(socket.socket):
    """Cannot accept the first connection at first: there is no descriptor for it."""

    tries = 0

    def accept(self) -> Any:
        self.tries += 1
        if self.tries == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("ca", SystemClock())


@pytest.fixture
def context(authority: CertificateAuthority, tmp_path: Path) -> Context:
    leaf = Leaf(common_name="server", addresses=("127.0.0.1",), usages=(SERVER,))
    pair = authority.issue(leaf)
    (tmp_path / "pair.pem").write_bytes(pair.certificate_pem + pair.key_pem)
    made = Context(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "pair.pem")
    made.begun = Counter()
    return made


def listening(cls: type[socket.socket] = socket.socket) -> socket.socket:
    made = cls()
    made.bind(("127.0.0.1", 0))
    made.listen(100)
    return made


@asynccontextmanager
async def serving(sock: socket.socket, context: Context) -> AsyncIterator[Listener]:
    made = Listener(sock, context, Greeter)
    try:
        yield made
    finally:
        made.close()


async def greeting(port: int, authority: CertificateAuthority) -> bytes:
    """What a client reads that trusts the server."""
    trusting = ssl.create_default_context(cadata=authority.certificate_pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_those_who_come_at_once_have_turns(
    authority: CertificateAuthority, context: Context
) -> None:
    sock = listening()
    address = sock.getsockname()
    clients = [socket.create_connection(address) for _ in range(5 * BEGUN_A_TURN)]
    for client in clients:
        client.sendall(b"\x16")
    context.count()
    async with asyncio.timeout(30), serving(sock, context):
        assert await greeting(address[1], authority) == b"hello"
    assert context.begun.total() == len(clients) + 1, "each of them, and none for a second time"
    assert max(context.begun.values()) <= BEGUN_A_TURN
    for client in clients:
        client.close()


@pytest.mark.parametrize("said", [b"", b"\x16"])
async def test_who_does_not_go_on_is_cut_off(
    context: Context, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_SECONDS", 0.1)
    sock = listening()
    async with asyncio.timeout(30), serving(sock, context):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(said)
        assert await reader.read() == b""
        writer.close()


async def test_it_goes_on_when_there_are_descriptors_again(
    authority: CertificateAuthority, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PAUSE_SECONDS", 0.0)
    sock = listening(Full)
    async with asyncio.timeout(30), serving(sock, context):
        assert await greeting(sock.getsockname()[1], authority) == b"hello"


async def test_one_that_is_closed_takes_nobody(context: Context) -> None:
    sock = listening()
    address = sock.getsockname()
    async with asyncio.timeout(30), serving(sock, context):
        reader, writer = await asyncio.open_connection(*address)
    with suppress(ConnectionResetError):  # it may still have waited to be accepted
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
