"""The node's certificate: the kubelet renews it, and kube-proxy reads it again."""

from __future__ import annotations

import logging
from pathlib import Path

from common.etcd.client import EtcdClient
from common.etcd.types import Tls
from common.runtime.clock import Clock
from node.session import credentials
from node.session.credentials import CA_FILE, IDENTITY_FILE, Credentials

log = logging.getLogger(__name__)
PKI = "node-pki"
SERVER_NAME = "wherry-master"
LOOK_SECONDS = 5.0


def tls(own: Credentials) -> Tls:
    """How the master's gateway is reached."""
    return Tls(own.ca, own.certificate, own.key, SERVER_NAME)


class Follower:
    """Gives a client the credentials that are there now."""

    def __init__(self, directory: Path, own: Credentials, client: EtcdClient, clock: Clock) -> None:
        """`own` are those that the client has."""
        self._directory = directory
        self._own = own
        self._client = client
        self._clock = clock
        self._seen: tuple[int, ...] = ()

    async def run(self) -> None:
        """Follow until cancelled. A file that cannot be used changes nothing."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            changed = self._changed_at()
            if changed == self._seen:
                continue
            self._seen = changed
            try:
                own = credentials.load(self._directory)
            except (OSError, ValueError) as error:
                log.error("the node's certificate cannot be read", extra={"error": str(error)})
                continue
            if own is not None and own != self._own:
                self._own = own
                await self._client.renew(tls(own))

    def _changed_at(self) -> tuple[int, ...]:
        files = (self._directory / name for name in (IDENTITY_FILE, CA_FILE))
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in files)
