"""The etcd of our own: never unowned, never twice, never with foreign data, never open."""

import asyncio
import fcntl
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from common.etcd.client import EtcdClient
from common.etcd.errors import Unavailable
from common.etcd.types import Put, Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import CertificateAuthority, serial_of
from master.storage.embedded import SERVER_NAME, EmbeddedEtcd, EmbeddedEtcdError
from master.storage.etcd import EtcdStore
from master.storage.marker import ForeignData
from master.storage.store import StoreError
from tests.servers.etcd import etcd, require_etcd, running_etcd
from tests.servers.ports import free_ports

__all__ = ["etcd"]

KEY = "/wherry/registry/pods/default/web"

pytestmark = pytest.mark.etcd

MASTER = """
import asyncio, sys
from pathlib import Path
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from master.storage.embedded import EmbeddedEtcd
from master.storage.etcd import EtcdStore

async def main():
    etcd = EmbeddedEtcd(Path(sys.argv[1]), clock=SystemClock(), rng=SystemRng(),
                        client_port=int(sys.argv[2]), peer_port=int(sys.argv[3]))
    await etcd.start()
    client = etcd.client()
    await EtcdStore(client).create("/wherry/registry/pods/default/web", b"1")
    print(etcd.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def own_ports() -> dict[str, int]:
    """The ports of an etcd, as its arguments."""
    return dict(zip(("client_port", "peer_port"), free_ports(2), strict=True))


@pytest.fixture
def other_master(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, tuple[int, int]]]:
    """Another process that owns an etcd in tmp_path/etcd: it, etcd's pid, and the ports."""
    require_etcd()
    client_port, peer_port = free_ports(2)
    ports = client_port, peer_port
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-c", MASTER, str(tmp_path / "etcd"), *map(str, ports)],
        stdout=subprocess.PIPE,
        cwd=root,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline()), ports
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_kill_of_the_master_leaves_no_etcd_and_a_new_one_takes_over(
    other_master: tuple[subprocess.Popen[bytes], int, tuple[int, int]], tmp_path: Path
) -> None:
    process, pid, ports = other_master
    gone = os.pidfd_open(pid)
    try:
        assert select.select([gone], [], [], 0)[0] == [], "it runs"
        files = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
        assert str(tmp_path / "etcd" / "lock") in files, "etcd itself holds the lock"
        process.send_signal(signal.SIGKILL)
        successor = EmbeddedEtcd(
            tmp_path / "etcd",
            clock=SystemClock(),
            rng=SystemRng(),
            client_port=ports[0],
            peer_port=ports[1],
        )
        await successor.start()
        assert select.select([gone], [], [], 0)[0] == [gone], "one etcd at a time"
        client = successor.client()
        try:
            found, _ = await EtcdStore(client).get(KEY)
            assert found is not None and found.value == b"1"
        finally:
            await client.close()
            await successor.stop()
    finally:
        os.close(gone)


async def test_start_waits_for_the_lock_and_says_who_has_it(tmp_path: Path) -> None:
    directory = tmp_path / "etcd"
    async with running_etcd(directory):
        pass
    with (directory / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = EmbeddedEtcd(directory, clock=SystemClock(), rng=SystemRng(), **own_ports())
        with pytest.raises(EmbeddedEtcdError, match="still uses"):
            await server.start(timeout_seconds=0.2)
        starting = asyncio.create_task(server.start())
        await asyncio.sleep(0)
        assert server.pid is None
        fcntl.flock(lock, fcntl.LOCK_UN)
        await starting
    assert server.pid is not None
    await server.stop()
    assert server.pid is None


async def test_dead_etcd_is_started_again(etcd: EmbeddedEtcd) -> None:
    client = etcd.client()
    store = EtcdStore(client)
    try:
        await store.create(KEY, b"1")
        first = etcd.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    found, _ = await store.get(KEY)
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
        assert found is not None and etcd.pid not in (None, first)
    finally:
        await client.close()


async def test_foreign_or_lost_data_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "etcd"
    async with running_etcd(directory):
        uid = (directory / "cluster-uid").read_text()
    async with running_etcd(directory):
        assert (directory / "cluster-uid").read_text() == uid

    async def refused(message: str) -> None:
        server = EmbeddedEtcd(directory, clock=SystemClock(), rng=SystemRng(), **own_ports())
        with pytest.raises(ForeignData, match=message):
            await server.start()
        assert server.pid is None

    (directory / "cluster-uid").write_text("another\n")
    await refused(f"data of cluster {uid.strip()}, but this master belongs to cluster another")
    (directory / "cluster-uid").unlink()
    await refused("no file next to it")
    (directory / "cluster-uid").write_text(uid)
    shutil.rmtree(directory / "data")
    await refused("no cluster's data")


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_files_are_private_under_every_umask(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        async with running_etcd(tmp_path / "etcd"):
            paths = [tmp_path / "etcd", *(tmp_path / "etcd").rglob("*")]
            modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
            keys = {path.stat().st_mode & 0o777 for path in paths if path.suffix == ".key"}
    finally:
        os.umask(old)
    assert {mode for is_dir, mode in modes if is_dir} == {0o700}
    assert keys == {0o600}
    assert all(mode == 0o600 for is_dir, mode in modes if not is_dir)


def http(etcd: EmbeddedEtcd, context: ssl.SSLContext, request: bytes) -> bytes:
    """What etcd answers on its client port."""
    host, _, port = etcd.endpoint.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 5) as raw,
        context.wrap_socket(raw, server_hostname=SERVER_NAME) as tls,
    ):
        tls.sendall(request)
        return tls.recv(4096)


async def test_nothing_answers_without_our_certificate(etcd: EmbeddedEtcd) -> None:
    pki = etcd._directory / "pki"
    metrics = b"GET /metrics HTTP/1.0\r\n\r\n"
    anonymous = ssl.create_default_context(cafile=pki / "ca.crt")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        assert http(etcd, anonymous, metrics) == b""
        raise ConnectionError("closed without a word")
    ours = ssl.create_default_context(cafile=pki / "ca.crt")
    ours.load_cert_chain(pki / "client.crt", pki / "client.key")
    assert b" 200 " in http(etcd, ours, metrics)
    gateway = b"POST /v3/kv/range HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"
    assert b" 404 " in http(etcd, ours, gateway)


async def test_another_authority_is_refused_on_both_sides(etcd: EmbeddedEtcd) -> None:
    other = CertificateAuthority.create("wherry-etcd-ca", SystemClock())
    stranger = other.issue_client("wherry-master")
    own = etcd._tls
    assert own is not None
    for tls in (
        Tls(own.ca_pem, stranger.certificate_pem, stranger.key_pem, SERVER_NAME),
        Tls(other.certificate_pem, own.certificate_pem, own.key_pem, SERVER_NAME),
        Tls(own.ca_pem, own.certificate_pem, own.key_pem, "another.name"),
    ):
        client = EtcdClient(
            [etcd.endpoint], tls, clock=SystemClock(), rng=SystemRng(), timeout_seconds=3
        )
        with pytest.raises(Unavailable):
            await client.status()
        await client.close()


async def test_certificates_are_renewed_under_writes_and_watches(tmp_path: Path) -> None:
    """Each write is there, and a watch has seen it once, though all certificates were replaced."""
    require_etcd()
    made = EmbeddedEtcd(tmp_path / "etcd", clock=SystemClock(), rng=SystemRng(), **own_ports())
    await made.start()
    client, maintenance = made.client(timeout_seconds=1.0), made.maintenance()
    seen: list[bytes] = []
    over = asyncio.Event()
    written = 0

    async def watch() -> None:
        async with aclosing(client.watch(b"k", b"l", start_revision=1)) as batches:
            async for batch in batches:
                seen.extend(event.item.key for event in batch.events)

    async def write() -> None:
        nonlocal written
        while not over.is_set():
            await client.txn((), (Put(f"k{written:06}".encode(), b"1"),))
            written += 1

    try:
        file = tmp_path / "etcd/pki/server.crt"
        before = serial_of(file.read_bytes())
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            writing = group.create_task(write())
            for _ in range(3):
                await made.renew(client, maintenance)
                assert (await maintenance.status(made.endpoint)).leader_id
            over.set()
            await writing
            while len(seen) < written:
                await asyncio.sleep(0.01)
            watching.cancel()
        assert serial_of(file.read_bytes()) != before
        assert not made.is_due(SystemClock().now())
        assert len(set(seen)) == len(seen) == written
    finally:
        await maintenance.close()
        await client.close()
        await made.stop()
