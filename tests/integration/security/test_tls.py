"""TLS that must not come about, on every listener and from every client: row G3."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from common.client.grpc import Settings, channel
from common.client.https import ConnectionFailed, HttpsClient, verified_context
from common.etcd.client import EtcdClient
from common.etcd.errors import EtcdError
from common.etcd.types import Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import CertificateAuthority, KeyPair
from node.session.control import ControlStream, Handlers
from node.session.credentials import Credentials, Held
from protos import cluster_v1_pb2 as pb
from protos import node_v1_pb2
from protos.cluster_v1_pb2_grpc import ClusterStub
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
WEAK = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-NULL-SHA",
    "ECDHE-RSA-AES128-SHA",
    "AES128-SHA",
    "AES128-GCM-SHA256",
    "AES256-SHA256",
    "NULL-SHA256",
    "AECDH-AES128-SHA",
)
STRONG = "ECDHE-ECDSA-AES128-GCM-SHA256"
NOTED_SECONDS = 30.0
OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
NAME = "etcd.wherry.internal"
LISTENERS = ("https", "grpc-certificate", "grpc-token", "etcd-client", "etcd-peer")


def port_of(master: RunningMaster, listener: str) -> int:
    """Where a listener is."""
    return {
        "https": master.port,
        "grpc-certificate": master.node_port,
        "grpc-token": master.script_port,
        "etcd-client": master.etcd_port,
        "etcd-peer": master.peer_port,
    }[listener]


Versions = tuple[ssl.TLSVersion, ssl.TLSVersion]


def client_context(versions: Versions, ciphers: str, pair: KeyPair | None = None) -> ssl.SSLContext:
    """A client that would take anything and has what is asked for: only the server can refuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.certificate_pem + pair.key_pem)
            file.flush()
            context.load_cert_chain(file.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = versions
    return context


def handshake(port: int, context: ssl.SSLContext) -> str:
    """The version and cipher that were agreed on; '' when the other side has refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        try:
            with context.wrap_socket(raw) as tls:
                cipher = tls.cipher()
                return f"{tls.version()} {cipher[0] if cipher else ''}"
        except ssl.SSLError as error:
            # The other side's word, not a shortcoming of this client.
            said = str(error.reason or error)
            assert "ALERT" in said or "EOF" in said, said
            return ""
        except ConnectionError:
            return ""


@contextlib.contextmanager
def server(
    directory: Path, pair: KeyPair, *, old: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS server: its port, and what each connection has said after the handshake."""
    file = directory / "impostor.pem"
    file.write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    told: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            raw.settimeout(5)
            heard = b""
            with raw, contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as t:
                heard = t.recv(4096)
            told.append(heard)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listener.getsockname()[1], told
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def certificate_for(master: RunningMaster, listener: str) -> KeyPair | None:
    """A certificate that a listener accepts, so that it can refuse for other reasons only."""
    if listener.startswith("etcd"):
        pki = master.directory / "data/etcd/pki"
        return KeyPair((pki / "server.crt").read_bytes(), (pki / "server.key").read_bytes())
    return master.kubeconfig.certificate


@pytest.mark.parametrize("listener", LISTENERS)
def test_old_versions_are_refused(master: RunningMaster, listener: str) -> None:
    """TLS 1.0 and 1.1 fail on a listener that speaks 1.2 or 1.3 with the same client."""
    port, pair = port_of(master, listener), certificate_for(master, listener)
    for version in OLD:
        assert handshake(port, client_context((version, version), "ALL", pair)) == "", version
    new = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert handshake(port, client_context(new, "ALL", pair)).startswith("TLSv1.")


@pytest.mark.parametrize("listener", LISTENERS)
def test_weak_ciphers_are_refused(master: RunningMaster, listener: str) -> None:
    """Without forward secrecy, without encryption, with SHA-1: no cipher of these is agreed on."""
    port, pair = port_of(master, listener), certificate_for(master, listener)
    only = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    agreed = {c: handshake(port, client_context(only, c, pair)) for c in WEAK}
    assert set(agreed.values()) == {""}, agreed
    assert handshake(port, client_context(only, STRONG, pair)) == f"TLSv1.2 {STRONG}"


def test_the_client_of_these_tests_speaks_old_tls(tmp_path: Path) -> None:
    """Else the refusals above would be its own."""
    authority = CertificateAuthority.create("x", SystemClock())
    pair = authority.issue_server("x", addresses=("127.0.0.1",))
    with server(tmp_path, pair, old=True) as (port, _):
        for version in OLD:
            assert handshake(port, client_context((version, version), "ALL")) != "", version


@pytest.fixture(params=["right", "wrong-name", "swapped-authority", "old-version"])
def impostor(
    master: RunningMaster, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, int, list[bytes]]]:
    """(what is wrong with it, port, what it was told) of a server that clients are led to."""
    names: dict[str, Any] = {"addresses": ("127.0.0.1",), "dns_names": (NAME,)}
    if request.param == "wrong-name":
        names = {"addresses": ("10.9.9.9",), "dns_names": ("other",)}
    authority = master.server_ca()
    if request.param == "swapped-authority":
        authority = CertificateAuthority.create("wherry-server-ca", SystemClock())
    pair = authority.issue_server("wherry-master", **names)
    with server(tmp_path, pair, old=request.param == "old-version") as (port, told):
        yield request.param, port, told


def check(impostor: tuple[str, int, list[bytes]]) -> None:
    """Only the right server was told anything; that it was shows that the others could be."""
    kind, _, told = impostor
    deadline = time.monotonic() + NOTED_SECONDS
    while time.monotonic() < deadline and not (any(told) if kind == "right" else told):
        time.sleep(0.02)  # the client may be back before the server has noted what it heard
    heard = [data for data in told if data]
    assert bool(heard) == (kind == "right"), (kind, heard)


def test_https_client(master: RunningMaster, impostor: tuple[str, int, list[bytes]]) -> None:
    """`wherry token` and joining nodes."""
    context = verified_context(master.kubeconfig.ca_pem)
    client = HttpsClient(f"https://127.0.0.1:{impostor[1]}", context, bearer="secret")
    with pytest.raises(ConnectionFailed):
        client.request("GET", "/api/v1/pods")
    check(impostor)


@pytest.mark.parametrize("token", [False, True], ids=["certificate", "token"])
async def test_grpc_client(
    master: RunningMaster, impostor: tuple[str, int, list[bytes]], token: bool
) -> None:
    """The client library, which never says its token to a stranger."""
    own = master.with_token("secret") if token else master.with_certificate()
    settings = Settings(f"127.0.0.1:{impostor[1]}", *own[1:])
    async with channel(settings) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ClusterStub(opened).List(pb.ListRequest(resource={"plural": "pods"}), timeout=5)
        assert refused.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
    check(impostor)


def test_kubectl(
    master: RunningMaster, impostor: tuple[str, int, list[bytes]], tmp_path: Path
) -> None:
    """The real kubectl with the kubeconfig that the master writes."""
    document = yaml.safe_load((master.directory / "data/admin.kubeconfig").read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{impostor[1]}"
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(file), "get", "pods", "--request-timeout=5s"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    check(impostor)


async def test_kubelet(master: RunningMaster, impostor: tuple[str, int, list[bytes]]) -> None:
    """A node's control stream: no hello for a stranger."""
    pair = master.node_certificate("n1")
    own = Credentials(
        ca=master.kubeconfig.ca_pem, certificate=pair.certificate_pem, key=pair.key_pem
    )
    _, port, told = impostor
    stream = ControlStream(f"127.0.0.1:{port}", Held(own), clock=SystemClock(), rng=SystemRng())

    async def hello() -> node_v1_pb2.Hello:
        return node_v1_pb2.Hello(node_name="n1")

    handlers = Handlers(
        hello=hello,
        welcome=lambda _: None,
        network=lambda _: None,
        assign=lambda _: "",
        removed=lambda _: None,
        synced=lambda _: None,
        open_session=lambda *_: None,
        trust=lambda _: None,
        refused=lambda: None,
        trouble=lambda _: None,
    )
    running = asyncio.create_task(stream.run(handlers))
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    check(impostor)


async def test_etcd_client(master: RunningMaster, impostor: tuple[str, int, list[bytes]]) -> None:
    """The master towards its etcd."""
    pair = master.node_certificate("n1")
    tls = Tls(master.kubeconfig.ca_pem, pair.certificate_pem, pair.key_pem, NAME)
    client = EtcdClient(
        [f"127.0.0.1:{impostor[1]}"],
        tls,
        clock=SystemClock(),
        rng=SystemRng(),
        timeout_seconds=5.0,
    )
    with pytest.raises(EtcdError):
        await client.range(b"a")
    await client.close()
    check(impostor)
