"""An etcd cluster that is not a master's own: members over TLS on loopback, each a process.

Members can be killed, stopped in their tracks, thrown away and replaced. Nothing here is async, so
that one cluster may serve tests with event loops of their own.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from aetcd.rpc import rpc_pb2, rpc_pb2_grpc

from common.etcd.access import Access
from common.etcd.client import prefix_end
from common.runtime.clock import SystemClock
from common.runtime.process import bound_to_parent
from common.security.ca import CLIENT, SERVER, CertificateAuthority, Leaf
from tests.servers.etcd import require_etcd
from tests.servers.ports import free_ports

HOST = "127.0.0.1"
MEMORY = Path("/dev/shm")
READY_SECONDS = 30.0


class Member:
    """One etcd."""

    def __init__(self, cluster: Cluster, name: str, directory: Path) -> None:
        self.cluster = cluster
        self.name = name
        self.directory = directory
        self.port, self.peer_port = free_ports(2)
        self.state = "new"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"https://{HOST}:{self.port}"

    @property
    def peer_url(self) -> str:
        """Where the others reach it."""
        return f"https://{HOST}:{self.peer_port}"

    def start(self) -> None:
        """Start it; `wait` waits for it."""
        with (self.cluster.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                bound_to_parent(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        self.state = "existing"

    def wait(self) -> None:
        """Return when it serves, with a leader."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.healthy():
            assert self.process is not None and self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def healthy(self) -> bool:
        """Whether it has a leader, and no alarm."""
        connection = http.client.HTTPSConnection(
            HOST, self.port, context=self.cluster.context(), timeout=2
        )
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/health")
                return b'"true"' in connection.getresponse().read()
            except OSError:
                return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Let a signal end it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()

    def pause(self) -> None:
        """Stop it in its tracks: it holds its connections and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What it has said."""
        return (self.cluster.directory / f"{self.name}.log").read_text()

    def call(self, service: str, method: str, request: Any) -> Any:
        """Ask it one thing, as etcdctl would."""
        cluster = self.cluster
        credentials = grpc.ssl_channel_credentials(
            cluster.ca.certificate_pem, cluster.client.key_pem, cluster.client.certificate_pem
        )
        with grpc.secure_channel(f"{HOST}:{self.port}", credentials) as channel:
            stub = getattr(rpc_pb2_grpc, f"{service}Stub")(channel)
            return getattr(stub, method)(request, timeout=10)

    def status(self) -> Any:
        """What it says of itself."""
        return self.call("Maintenance", "Status", rpc_pb2.StatusRequest())

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with a prefix of one `/` or more."""
        start = prefix.encode()
        request = rpc_pb2.RangeRequest(key=start, range_end=prefix_end(start), keys_only=True)
        return [one.key.decode() for one in self.call("KV", "Range", request).kvs]

    def _command(self) -> list[str]:
        pki = self.cluster.directory
        peers = ",".join(f"{one.name}={one.peer_url}" for one in self.cluster.members)
        command = ["etcd", f"--name={self.name}", f"--data-dir={self.directory}"]
        command += [f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}"]
        command += [f"--listen-peer-urls={self.peer_url}"]
        command += [f"--initial-advertise-peer-urls={self.peer_url}"]
        command += [f"--initial-cluster={peers}", f"--initial-cluster-state={self.state}"]
        for side in ("", "peer-"):
            command += [f"--{side}client-cert-auth=true", f"--{side}trusted-ca-file={pki}/ca.crt"]
            command += [f"--{side}cert-file={pki}/member.crt", f"--{side}key-file={pki}/member.key"]
        command += ["--logger=zap", "--log-level=warn", "--unsafe-no-fsync"]
        command.append("--strict-reconfig-check=false")  # which waits for 5 s of health
        # An election in half a second, so that tests are short.
        return [
            *command,
            "--heartbeat-interval=50",
            "--election-timeout=500",
            *self.cluster.options,
        ]


class Cluster:
    """Members, numbered from 0, with an authority of their own."""

    def __init__(self, directory: Path, count: int, options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.options = options
        self.ca = CertificateAuthority.create("etcd-ca", SystemClock())
        member = Leaf(common_name="member", addresses=(HOST,), usages=(SERVER, CLIENT))
        pair, self.client = self.ca.issue(member), self.ca.issue_client("wherry-master")
        for name, pem in {
            "ca.crt": self.ca.certificate_pem,
            "member.crt": pair.certificate_pem,
            "member.key": pair.key_pem,
            "client.crt": self.client.certificate_pem,
            "client.key": self.client.key_pem,
        }.items():
            (directory / name).write_bytes(pem)
        self.members: list[Member] = []
        for number in range(count):
            self.members.append(Member(self, f"e{number}", directory / f"e{number}"))

    def start(self) -> None:
        """Return when all serve."""
        for one in self.members:
            one.start()
        for one in self.members:
            one.wait()

    def stop(self) -> None:
        """End all."""
        for one in self.members:
            one.kill()

    def context(self) -> ssl.SSLContext:
        """What its client's TLS is like."""
        context = ssl.create_default_context(cafile=self.directory / "ca.crt")
        context.load_cert_chain(self.directory / "client.crt", self.directory / "client.key")
        return context

    def access(self, prefix: str = "/wherry") -> Access:
        """How a master reaches it."""
        return Access(
            endpoints=tuple(one.url for one in self.members),
            cacert=str(self.directory / "ca.crt"),
            cert=str(self.directory / "client.crt"),
            key=str(self.directory / "client.key"),
            prefix=prefix,
        )

    def leader(self) -> int:
        """The number of the member that leads."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            for number, one in enumerate(self.members):
                with contextlib.suppress(grpc.RpcError):
                    status = one.status()
                    if status.leader == status.header.member_id:
                        return number
            assert time.monotonic() < deadline, "no leader"
            time.sleep(0.02)

    def remove(self, number: int) -> None:
        """Take a member out of the cluster, and throw it away with its data."""
        gone, other = self.members[number], self.members[(number + 1) % len(self.members)]
        listed = other.call("Cluster", "MemberList", rpc_pb2.MemberListRequest()).members
        [found] = [one.ID for one in listed if one.name == gone.name]
        other.call("Cluster", "MemberRemove", rpc_pb2.MemberRemoveRequest(ID=found))
        gone.kill()
        shutil.rmtree(gone.directory)

    def add(self, number: int) -> Member:
        """An empty member in the place of one that was removed, to be started."""
        gone, other = self.members[number], self.members[(number + 1) % len(self.members)]
        made = Member(self, gone.name, gone.directory)
        made.port, made.state = gone.port, "existing"
        other.call("Cluster", "MemberAdd", rpc_pb2.MemberAddRequest(peerURLs=[made.peer_url]))
        self.members[number] = made
        return made


@contextlib.contextmanager
def running_cluster(count: int = 1, options: Sequence[str] = ()) -> Iterator[Cluster]:
    """A started cluster, its data in memory, gone afterwards."""
    require_etcd()
    shm = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="wherry-etcd-", dir=shm) as scratch:
        made = Cluster(Path(scratch), count, options)
        try:
            made.start()
            yield made
        finally:
            made.stop()
