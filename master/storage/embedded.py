"""An etcd of the master's own: a child process on loopback, reachable with our certificates only.

The child dies with its master, also by kill -9, and a new master waits until the child of the
former one is gone: both hold one lock.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import threading
from datetime import datetime, timedelta
from pathlib import Path

from common.etcd.client import EtcdClient
from common.etcd.errors import EtcdError
from common.etcd.maintenance import Maintenance
from common.etcd.types import Tls
from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from common.runtime.process import bound_to_parent
from common.runtime.rng import Rng
from common.security.ca import CLIENT, SERVER, CertificateAuthority, Leaf
from common.security.files import make_private_directory, write_private
from common.security.validity import validity
from master.storage.etcd import EtcdStore
from master.storage.keys import ROOT
from master.storage.marker import MARKER, check_marker

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
SERVER_NAME = "etcd.wherry.internal"
"""The name in the server's certificate, whatever the address."""

CIPHER_SUITES = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
)
"""For TLS 1.2, where etcd would take SHA-1 too; those of TLS 1.3 are all strong."""

"""New certificates are issued at every start of the master."""

FREE_LEAST_BYTES = 64 << 20
"""etcd sets so much aside for its log in advance, and ends where it cannot."""

_RESTART = Backoff(initial_seconds=0.1, cap_seconds=10.0)
_HEALTHY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05


class EmbeddedEtcdError(Exception):
    """etcd cannot be started; the message says what is in the way."""


class EmbeddedEtcd:
    """Owns one etcd process; use it from the main thread, whose death is the process's too.

    `directory` holds data/, pki/, the cluster's uid and the lock.
    `unsafe_no_fsync` gives up durability for speed: for tests only.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock,
        rng: Rng,
        client_port: int = 2379,
        peer_port: int = 2380,
        certificate_lifetime: timedelta = timedelta(days=7),
        unsafe_no_fsync: bool = False,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._rng = rng
        self._client_port = client_port
        self._peer_port = peer_port
        self._certificate_lifetime = certificate_lifetime
        self._unsafe_no_fsync = unsafe_no_fsync
        self._tls: Tls | None = None
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"{HOST}:{self._client_port}"

    @property
    def pid(self) -> int | None:
        """The process that runs now, None between a death and the restart."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    def client(self, timeout_seconds: float = 5.0) -> EtcdClient:
        """A new client; the caller closes it."""
        if self._tls is None:
            raise EmbeddedEtcdError("etcd was not started")
        return EtcdClient(
            [self.endpoint],
            self._tls,
            clock=self._clock,
            rng=self._rng,
            timeout_seconds=timeout_seconds,
        )

    def store(self, client: EtcdClient) -> EtcdStore:
        """The Store in it."""
        return EtcdStore(client, self._clock, possible_cause=self.possible_cause)

    def maintenance(self) -> Maintenance:
        """What is done to its one member; the caller closes it."""
        return Maintenance([self.endpoint], self._tls)

    @property
    def marker_key(self) -> bytes:
        """The key that is always there."""
        return f"{ROOT}/{MARKER}".encode()

    async def is_alone(self, client: EtcdClient) -> bool:
        """Whether nobody else uses it."""
        return True

    def possible_cause(self) -> str:
        """What may be in its way; '' for nothing."""
        free = shutil.disk_usage(self._directory).free
        if free >= FREE_LEAST_BYTES:
            return ""
        return f"the disk of {self._directory} is full: {free >> 20} MiB are left"

    def is_due(self, now: datetime) -> bool:
        """Whether its certificates are to be renewed."""
        assert self._tls is not None
        assert self._tls.certificate_pem is not None
        return validity(self._tls.certificate_pem).is_due(now, self._authority_begins)

    async def renew(self, client: EtcdClient, maintenance: Maintenance) -> None:
        """Renew its certificates, which it reads at each handshake, and that of its clients."""
        self._tls = self._issue_certificates()
        await maintenance.renew(self._tls)
        await client.renew(self._tls)

    async def start(self, timeout_seconds: float = 30.0) -> None:
        """Return when etcd answers and its data is this master's. Raises EmbeddedEtcdError."""
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedEtcdError("etcd must be started from the main thread")
        if shutil.which("etcd") is None:
            raise EmbeddedEtcdError("there is no etcd program in the PATH; install package etcd")
        deadline = self._clock.monotonic() + timeout_seconds
        make_private_directory(self._directory)
        make_private_directory(self._directory / "data")
        try:
            await self._take_lock(deadline)
            self._tls = self._issue_certificates()
            self._supervisor = asyncio.create_task(self._supervise(), name="etcd")
            client = self.client(timeout_seconds=2.0)
            try:
                await self._wait_until_ready(client, deadline)
                await check_marker(client, self._directory / MARKER, self._rng)
            finally:
                await client.close()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End etcd and everything that `start` made; doing it twice does nothing."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _take_lock(self, deadline: float) -> None:
        """Hold the lock that every etcd on this directory inherits, once they are all gone."""
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if self._clock.monotonic() >= deadline:
                    raise EmbeddedEtcdError(
                        f"another master or its etcd still uses {self._directory}"
                    ) from error
            await self._clock.sleep(_POLL_SECONDS)

    def _issue_certificates(self) -> Tls:
        """Files for etcd, and a client's for us and for whoever debugs as root with etcdctl."""
        pki = self._directory / "pki"
        authority = CertificateAuthority.load_or_create(pki, "wherry-etcd-ca", self._clock)
        self._authority_begins = authority.begins
        server = authority.issue(
            Leaf(
                common_name="etcd",
                dns_names=(SERVER_NAME, "localhost"),
                addresses=(HOST,),
                usages=(SERVER, CLIENT),  # it is both towards its peers
                lifetime=self._certificate_lifetime,
            )
        )
        client = authority.issue(
            Leaf(common_name="wherry-master", usages=(CLIENT,), lifetime=self._certificate_lifetime)
        )
        for name, pair in (("server", server), ("client", client)):
            write_private(pki / f"{name}.crt", pair.certificate_pem)
            write_private(pki / f"{name}.key", pair.key_pem)
        return Tls(authority.certificate_pem, client.certificate_pem, client.key_pem, SERVER_NAME)

    async def _supervise(self) -> None:
        """Run etcd again whenever it dies, slower each time unless it lived well."""
        failures = 0
        while True:
            started = self._clock.monotonic()
            outcome = await self._run_once()
            lived_seconds = self._clock.monotonic() - started
            failures = 1 if lived_seconds >= _HEALTHY_SECONDS else failures + 1
            extra = {"outcome": outcome, "lived_seconds": lived_seconds}
            log.error("etcd ended", extra=extra | {"possible_cause": self.possible_cause() or None})
            await self._clock.sleep(_RESTART.delay_seconds(failures))

    async def _run_once(self) -> str:
        """Run etcd until it dies; how it did."""
        if self._lock is None:
            raise EmbeddedEtcdError("etcd runs only under the lock")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *bound_to_parent(self._command()),
                stdin=asyncio.subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath)},  # no ETCD_* may change it
                pass_fds=(self._lock,),
            )
        except OSError as error:
            return str(error)
        return f"status {await self._process.wait()}"

    async def _wait_until_ready(self, client: EtcdClient, deadline: float) -> None:
        while True:
            try:
                if (await client.status()).leader_id:
                    return
            except EtcdError as error:
                if self._clock.monotonic() >= deadline:
                    why = "; ".join(filter(None, (str(error), self.possible_cause())))
                    raise EmbeddedEtcdError(f"etcd does not answer: {why}") from error
            await self._clock.sleep(_POLL_SECONDS)

    def _command(self) -> list[str]:
        pki = self._directory / "pki"
        client_url = f"https://{self.endpoint}"
        peer_url = f"https://{HOST}:{self._peer_port}"
        command = ["etcd", "--name=wherry", f"--data-dir={self._directory / 'data'}"]
        command += [f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}"]
        command += [f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"]
        command += [f"--initial-cluster=wherry={peer_url}"]
        for side in ("", "peer-"):
            command += [
                f"--{side}client-cert-auth=true",
                f"--{side}trusted-ca-file={pki / 'ca.crt'}",
                f"--{side}cert-file={pki / 'server.crt'}",
                f"--{side}key-file={pki / 'server.key'}",
            ]
        command.append(f"--cipher-suites={','.join(CIPHER_SUITES)}")
        command += ["--enable-grpc-gateway=false", "--logger=zap", "--log-level=error"]
        if self._unsafe_no_fsync:
            command.append("--unsafe-no-fsync")
        return command
