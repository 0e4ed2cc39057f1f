"""A real wherry-master in a process of its own, on free ports and in a directory of its own."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.client.grpc import Settings
from common.client.https import ConnectionFailed, HttpsClient, KubeConfig, unverified_context
from common.runtime.clock import Clock, SystemClock
from common.security.ca import CertificateAuthority, KeyPair
from tests.servers.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 40.0


class RunningMaster:
    """Start and stop; clients with any credentials."""

    def __init__(self, directory: Path, *, umask: int = 0o022) -> None:
        if shutil.which("etcd") is None:
            if os.environ.get("CI") == "true":
                pytest.fail("etcd is not installed")
            pytest.skip("etcd is not installed")
        self.directory = directory
        self.umask = umask
        self.settings = Path("/dev/null")
        """The configuration file."""
        self.environment_of_its_own: dict[str, str] = {}
        """Beside that of the tests."""
        ports = free_ports(5)
        self.port, self.node_port, self.script_port, self.etcd_port, self.peer_port = ports
        self.url = f"https://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        self._of_nodes: dict[str, KeyPair] = {}

    def start(self) -> None:
        """Start and wait until it is ready."""
        command = [sys.executable, "-m", "master"]
        for name, value in {
            "data-dir": self.directory / "data",
            "config": self.settings,
            "advertise-address": "127.0.0.1",
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "node-port": self.node_port,
            "script-port": self.script_port,
            "etcd-client-port": self.etcd_port,
            "etcd-peer-port": self.peer_port,
        }.items():
            command += [f"--{name}", str(value)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                umask=self.umask,
                env={**os.environ, **self.environment_of_its_own},
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                anybody = HttpsClient(self.url, unverified_context())
                if anybody.request("GET", "/readyz")[0] == 200:
                    return
            except ConnectionFailed:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def stop(self) -> None:
        """Stop it, with its etcd."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def kubeconfig(self) -> KubeConfig:
        """The administrator's."""
        return KubeConfig(self.directory / "data/admin.kubeconfig")

    def admin(self) -> HttpsClient:
        """A client of the administrator."""
        return self.kubeconfig.client()

    def client(self, *, bearer: str = "", certificate: KeyPair | None = None) -> HttpsClient:
        """A client with other credentials, or none."""
        return HttpsClient(self.url, self.context(certificate), bearer=bearer)

    def context(self, certificate: KeyPair | None) -> ssl.SSLContext:
        """TLS that trusts this master, with a client certificate."""
        context = ssl.create_default_context(cadata=self.kubeconfig.ca_pem.decode())
        if certificate is not None:
            file = self.directory / "client.pem"
            file.write_bytes(certificate.certificate_pem + certificate.key_pem)
            context.load_cert_chain(file)
            file.unlink()
        return context

    def connection(self, certificate: KeyPair | None) -> http.client.HTTPSConnection:
        """A connection of its own; the caller closes it."""
        context = self.context(certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)

    def with_certificate(self, certificate: KeyPair | None = None) -> Settings:
        """gRPC with a client certificate; the administrator's when none is given."""
        config = self.kubeconfig
        target = f"127.0.0.1:{self.node_port}"
        return Settings(target, config.ca_pem, certificate or config.certificate)

    def with_token(self, token: str = "") -> Settings:
        """gRPC with a bearer token; the administrator's when none is given."""
        token = token or (self.directory / "data/admin.token").read_text().strip()
        return Settings(f"127.0.0.1:{self.script_port}", self.kubeconfig.ca_pem, None, token)

    def environment(self, directory: Path, *, token: bool) -> dict[str, str]:
        """What a user sets to reach this master: a kubeconfig, or a token with the authority."""
        found = {k: v for k, v in os.environ.items() if not k.startswith(("WHERRY", "KUBE"))}
        if not token:
            found["KUBECONFIG"] = str(self.directory / "data/admin.kubeconfig")
            return found
        file = directory / "ca.crt"
        file.write_bytes(self.kubeconfig.ca_pem)
        found["WHERRY_URL"] = f"https://127.0.0.1:{self.script_port}"
        found["WHERRY_CA"] = str(file)
        found["WHERRY_TOKEN"] = self.with_token().token
        return found

    def client_ca(self, clock: Clock | None = None) -> CertificateAuthority:
        """The authority that signs client certificates, as of the time of a clock."""
        directory = self.directory / "data/pki/client-ca"
        return CertificateAuthority.load_or_create(directory, "", clock or SystemClock())

    def server_ca(self) -> CertificateAuthority:
        """The authority that signs the master's own certificate."""
        directory = self.directory / "data/pki/server-ca"
        return CertificateAuthority.load_or_create(directory, "", SystemClock())

    def node_certificate(self, name: str) -> KeyPair:
        """The certificate of a node, as after joining: a Node belongs to one of them."""
        if name not in self._of_nodes:
            user, groups = f"system:node:{name}", ("system:nodes",)
            self._of_nodes[name] = self.client_ca().issue_client(user, organizations=groups)
        return self._of_nodes[name]
