"""What the master serves and signs with, made at the first start and renewed while it runs."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from common.api.wellknown import CLUSTER_DOMAIN, MASTERS, NODE_USER_PREFIX, NODES_GROUP
from common.client.https import ports_extension
from common.client.kubeconfig import Cluster, kubeconfig
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.security import accountkeys
from common.security.ca import CLIENT, SERVER, Leaf
from common.security.files import make_private_directory, write_private
from common.security.keypair import KeyPair
from common.security.keyring import Keyring, load_or_create
from common.security.validity import Validity, validity
from master.apiserver.auth.accounttokens import TokenKeys
from master.config import MasterConfig
from master.pki.authority import Authority
from master.pki.renewal import Renewable

ADMIN = "admin"
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
    "wherry-master",
)


CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""With TLS 1.2; those of 1.3 are all good. Debian's Python has OpenSSL's own list otherwise, with
SHA-1 and without forward secrecy in it."""


class Pki:
    """Everything below the data directory; separate authorities for servers and clients.

    Raises CertificateError, InsecurePath.
    """

    def __init__(self, config: MasterConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._lifetime = config.lifetime
        place = Path(config.data_dir)
        self.directory = place / "pki"
        make_private_directory(self.directory)
        self.server_ca = Authority(self.directory / "server-ca", "wherry-server-ca", clock)
        self.client_ca = Authority(self.directory / "client-ca", "wherry-client-ca", clock)
        account_keys = accountkeys.load_or_create(self.directory / "service-accounts.key")
        self.account_keys = TokenKeys(account_keys)
        self.admin_token = _admin_token(place / "admin.token")
        self._admin_kubeconfig = place / "admin.kubeconfig"
        self._watchers: list[Callable[[], None]] = []
        self._life: Validity | None = None
        self.renew()

    def secret_keys(self, rng: Rng) -> Keyring:
        """The keys by which Secrets are sealed in etcd; raises KeyringError."""
        return load_or_create(self.directory / "secret.keys", rng)

    def renew(self) -> None:
        """New certificates for this server and for the administrator. Raises OSError; until it
        has come to its end it is due again."""
        self._life = None
        self.serving = self._issue_serving()
        admin = self.client_ca.signer.issue(
            Leaf(
                common_name=ADMIN,
                organizations=(MASTERS,),
                usages=(CLIENT,),
                lifetime=self._lifetime,
            )
        )
        write_private(self._admin_kubeconfig, kubeconfig(self._cluster(), ADMIN, admin))
        write_private(self.directory / "server.crt", self.serving.certificate_pem)
        write_private(self.directory / "server.key", self.serving.key_pem)

        for changed in self._watchers:
            changed()
        self._life = validity(self.serving.certificate_pem)

    def _cluster(self) -> Cluster:
        config = self._config
        return Cluster(
            f"https://{config.advertise_address}:{config.secure_port}",
            self.server_ca.trusted,
            (ports_extension(config.node_port, config.script_port),),
        )

    def watch(self, changed: Callable[[], None]) -> None:
        """Call that whenever something has changed."""
        self._watchers.append(changed)

    def renewable(self) -> Renewable:
        """When that is to be done again, and how."""

        async def renew() -> None:
            self.renew()

        return Renewable("serving", self._is_due, renew)

    def _is_due(self, now: datetime) -> bool:
        return self._life is None or self._life.is_due(now, self.server_ca.signer.begins)

    def _issue_serving(self) -> KeyPair:
        more = self._config.tls_san
        addresses = (self._config.advertise_address, "127.0.0.1", self._config.api_service_address)
        return self.server_ca.signer.issue(
            Leaf(
                common_name="wherry-master",
                dns_names=(*SERVER_NAMES, *(name for name in more if not _is_address(name))),
                addresses=tuple(
                    dict.fromkeys((*addresses, *(name for name in more if _is_address(name))))
                ),
                usages=(SERVER,),
                lifetime=self._lifetime,
            )
        )

    def tls_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later with the present certificate; client certificates of ours optional."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.load_verify_locations(cadata=self.client_ca.trusted.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        return context

    def sign_node(self, request_pem: bytes, node: str) -> bytes:
        """A client certificate for a node; raises CertificateError."""
        leaf = Leaf(
            common_name=f"{NODE_USER_PREFIX}{node}",
            organizations=(NODES_GROUP,),
            usages=(CLIENT,),
            lifetime=self._lifetime,
        )
        return self.client_ca.signer.sign_request(request_pem, leaf)

    def sign_client(self, request_pem: bytes, leaf: Leaf) -> bytes:
        """A client certificate that says what `leaf` says; raises CertificateError."""
        return self.client_ca.signer.sign_request(request_pem, leaf)


def _is_address(name: str) -> bool:
    return name.replace(".", "").isdigit()


def _admin_token(path: Path) -> str:
    """The administrator's token, made at the first start."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode() + b"\n")
    return path.read_text("ascii").strip()
