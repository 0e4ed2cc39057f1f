"""Private files whatever the umask (row G21), and joining only the right master (row G9)."""

from __future__ import annotations

import base64
import http.server
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import CertificateAuthority, pin
from common.security.tokens import new_token
from node.session import join
from node.session.credentials import IDENTITY_FILE
from tests.integration.security.test_access import wherry
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=["umask000", "umask077"])
def test_private_files(tmp_path: Path, umask: int) -> None:
    """G21: keys 0600, directories 0700, for master and node."""
    (tmp_path / "data").mkdir(mode=0o700)
    master = RunningMaster(tmp_path, umask=umask)
    try:
        master.start()
        node_dir = tmp_path / "node-pki"
        join_with(wherry(master, "token", "create"), master.url, node_dir)
        check_private(tmp_path / "data")
        check_private(node_dir)
        for name in ("admin.token", "admin.kubeconfig"):
            assert mode(tmp_path / "data" / name) == 0o600
    finally:
        master.stop()


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def check_private(directory: Path) -> None:
    """Every key and every directory is its owner's alone."""
    keys = 0
    for path in (directory, *directory.rglob("*")):
        if path.is_dir() and "member" not in path.parts:
            assert mode(path) == 0o700, path
        if path.suffix == ".key" or path.name == IDENTITY_FILE:
            keys += 1
            assert mode(path) == 0o600, path
    assert keys


def join_with(token: str, url: str, directory: Path) -> None:
    """Join as a node `n` with a token."""
    file = directory.parent / "join.token"
    file.write_text(token)
    join.join(directory, url, str(file), join.Machine("n", "m"), lambda: time.sleep(0.1))


class Impostor(http.server.BaseHTTPRequestHandler):
    """Answers /cacerts with its own authority and writes down what it is sent."""

    ca_pem = b""
    seen: list[tuple[str, str, str | None, bytes]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """Any GET."""
        self.note()

    def do_POST(self) -> None:
        """Any POST."""
        self.note()

    def note(self) -> None:
        """Remember the request; answer with the authority."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.ca_pem)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[str]:
    """A TLS server with an authority of its own."""
    authority = CertificateAuthority.create("impostor", SystemClock())
    pair = authority.issue_server("wherry-master", addresses=("127.0.0.1",))
    file = tmp_path / "server.pem"
    file.write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    Impostor.ca_pem, Impostor.seen = authority.certificate_pem, []
    server = http.server.HTTPServer(("127.0.0.1", 0), Impostor)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_wrong_authority_is_told_nothing(impostor: str, tmp_path: Path) -> None:
    """G9: an authority that is not the token's gets no token, no request, no key."""
    real = CertificateAuthority.create("real", SystemClock())
    token = new_token(pin(real.certificate_pem), SystemRng())
    with pytest.raises(join.JoinFailed, match="nothing was sent"):
        join_with(token.text(), impostor, tmp_path / "pki")
    assert [(method, path) for method, path, _, _ in Impostor.seen] == [("GET", "/cacerts")]
    assert all(authorization is None and body == b"" for _, _, authorization, body in Impostor.seen)


def test_a_token_without_pin_is_refused(tmp_path: Path) -> None:
    """A short token could not tell a master from an impostor."""
    token = new_token("sha256:" + "0" * 64, SystemRng())
    with pytest.raises(join.JoinFailed, match="form"):
        join_with(token.bearer(), "https://127.0.0.1:1", tmp_path / "pki")


def test_no_secret_is_in_etcds_files(master: RunningMaster) -> None:
    """G20: neither as it is nor as base64; the API shows it all the same."""
    canary = "canary-in-the-coal-mine"
    secrets, encoded = "/api/v1/namespaces/default/secrets", base64.b64encode(canary.encode())
    body = {"metadata": {"name": "canary"}, "data": {"k": encoded.decode()}}
    master.admin().json("POST", secrets, body)
    shown = master.admin().json("GET", f"{secrets}/canary")
    assert base64.b64decode(shown["data"]["k"]).decode() == canary
    stored = [path for path in (master.directory / "data/etcd").rglob("*") if path.is_file()]
    assert any(b"default/canary" in path.read_bytes() for path in stored), "its key is there"
    for path in stored:
        found = path.read_bytes()
        assert canary.encode() not in found, path
        assert encoded not in found, path
