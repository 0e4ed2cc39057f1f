"""The master's certificates and the administrator's credentials, made at the first start."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import yaml

from common.client.https import ports_extension
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.security.ca import CLIENT, CertificateAuthority, KeyPair, Leaf
from common.security.csr import NODE_USER_PREFIX, NODES_GROUP
from common.security.files import make_private_directory, write_private
from common.security.keyring import Keyring, load_or_create
from master.config import MasterConfig

NODE_CERTIFICATE_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Pki:
    """What the master serves and signs with. Separate authorities for servers and clients."""

    directory: Path
    server_ca: CertificateAuthority
    client_ca: CertificateAuthority
    serving: KeyPair
    admin_token: str

    @property
    def certificate_file(self) -> Path:
        """The serving certificate."""
        return self.directory / "server.crt"

    @property
    def key_file(self) -> Path:
        """The serving key, 0600."""
        return self.directory / "server.key"

    @property
    def client_ca_file(self) -> Path:
        """The authority of client certificates."""
        return self.directory / "client-ca.crt"

    def secret_keys(self, rng: Rng) -> Keyring:
        """The keys by which Secrets are sealed in etcd; raises KeyringError."""
        return load_or_create(self.directory / "secret.keys", rng)

    def sign_node(self, request_pem: bytes, node: str) -> bytes:
        """A client certificate for a node; raises CertificateError."""
        leaf = Leaf(
            common_name=f"{NODE_USER_PREFIX}{node}",
            organizations=(NODES_GROUP,),
            usages=(CLIENT,),
            lifetime=NODE_CERTIFICATE_LIFETIME,
        )
        return self.client_ca.sign_request(request_pem, leaf)


def prepare(config: MasterConfig, clock: Clock) -> Pki:
    """Load or make everything below the data directory."""
    directory = Path(config.data_dir) / "pki"
    make_private_directory(directory)
    server_ca = CertificateAuthority.load_or_create(
        directory / "server-ca", "wherry-server-ca", clock
    )
    client_ca = CertificateAuthority.load_or_create(
        directory / "client-ca", "wherry-client-ca", clock
    )
    serving = server_ca.issue_server(
        "wherry-master",
        dns_names=(
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "wherry-master",
            *(n for n in config.tls_san if not _is_address(n)),
        ),
        addresses=tuple(
            dict.fromkeys(
                (
                    config.advertise_address,
                    "127.0.0.1",
                    config.api_service_address,
                    *(n for n in config.tls_san if _is_address(n)),
                )
            )
        ),
    )
    place = Path(config.data_dir)
    pki = Pki(directory, server_ca, client_ca, serving, _admin_token(place / "admin.token"))
    write_private(pki.certificate_file, serving.certificate_pem)
    write_private(pki.key_file, serving.key_pem)
    write_private(pki.client_ca_file, client_ca.certificate_pem)
    _write_kubeconfig(place / "admin.kubeconfig", config, pki)
    return pki


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit()


def _admin_token(path: Path) -> str:
    """The administrator's token, made at the first start."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode() + b"\n")
    return path.read_text("ascii").strip()


def _write_kubeconfig(path: Path, config: MasterConfig, pki: Pki) -> None:
    """An administrator's kubeconfig with a client certificate; renewed at each start."""
    admin = pki.client_ca.issue_client("admin", organizations=("system:masters",))
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "wherry",
                "cluster": {
                    "server": f"https://{config.advertise_address}:{config.secure_port}",
                    "certificate-authority-data": _encoded(pki.server_ca.certificate_pem),
                    "extensions": [ports_extension(config.node_port, config.script_port)],
                },
            }
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": _encoded(admin.certificate_pem),
                    "client-key-data": _encoded(admin.key_pem),
                },
            }
        ],
        "contexts": [{"name": "wherry", "context": {"cluster": "wherry", "user": "admin"}}],
        "current-context": "wherry",
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False).encode())


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
