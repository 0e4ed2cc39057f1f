"""An etcd that is not the master's own: it is reached, and never started, stopped or configured."""

import logging
from datetime import datetime
from pathlib import Path

from common.etcd.access import Access
from common.etcd.client import EtcdClient, prefix_end
from common.etcd.errors import EtcdError, Refused
from common.etcd.maintenance import Maintenance
from common.etcd.types import Tls
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.security.files import make_private_directory
from master.storage.etcd import EtcdStore
from master.storage.marker import MARKER, check_marker

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


class ExternalEtcdError(Exception):
    """etcd cannot be used; the message says why."""


class ExternalEtcd:
    """What a master needs to know of an etcd of its user's.

    `directory` holds the cluster's uid, where an etcd of the master's own would keep it, too: a
    master that is led from the one to the other finds its data there, or does not start.
    """

    def __init__(self, access: Access, directory: Path, *, clock: Clock, rng: Rng) -> None:
        self._access = access
        self._directory = directory
        self._clock = clock
        self._rng = rng
        self._read_at = _changed_at(access)

    def client(self, timeout_seconds: float = 5.0) -> EtcdClient:
        """A new client; the caller closes it. Raises OSError for a file that cannot be read."""
        return EtcdClient(
            self._access.targets,
            _tls(self._access),
            clock=self._clock,
            rng=self._rng,
            timeout_seconds=timeout_seconds,
        )

    def store(self, client: EtcdClient) -> EtcdStore:
        """The Store in it."""
        return EtcdStore(client, self._clock, prefix=self._access.prefix, shared=True)

    def is_due(self, now: datetime) -> bool:
        """Whether its files are to be read again: somebody has changed them."""
        return _changed_at(self._access) != self._read_at

    async def renew(self, client: EtcdClient, maintenance: Maintenance) -> None:
        """Read the certificates again that the user has renewed."""
        self._read_at = _changed_at(self._access)
        tls = _tls(self._access)
        assert tls is not None, "without files none has changed"
        await maintenance.renew(tls)
        await client.renew(tls)

    def maintenance(self) -> Maintenance:
        """What is done to each member by itself; the caller closes it."""
        return Maintenance(self._access.targets, _tls(self._access))

    @property
    def marker_key(self) -> bytes:
        """The key that is always there."""
        return f"{self._access.prefix}/{MARKER}".encode()

    async def is_alone(self, client: EtcdClient) -> bool:
        """Whether there is nothing but what lies below the prefix."""
        below = f"{self._access.prefix}/".encode()
        ours = await client.range(below, prefix_end(below), count_only=True)
        try:
            everything = await client.range(b"\0", b"\0", count_only=True)
        except Refused:
            return False
        return everything.count == ours.count

    def possible_cause(self) -> str:
        """Nothing that could be seen from here."""
        return ""

    async def start(self, timeout_seconds: float = 60.0) -> None:
        """Return when etcd answers and what lies below the prefix is this master's.

        Raises ExternalEtcdError, ForeignData.
        """
        make_private_directory(self._directory)
        client = self.client()
        try:
            await self._wait_until_it_serves(client, timeout_seconds)
            file, prefix = self._directory / MARKER, self._access.prefix
            await check_marker(client, file, self._rng, prefix=prefix, shared=True)
        except EtcdError as error:
            where = ", ".join(self._access.endpoints)
            raise ExternalEtcdError(f"etcd at {where} cannot be used: {error}") from error
        finally:
            await client.close()

    async def stop(self) -> None:
        """Nothing: it is not ours."""

    async def _wait_until_it_serves(self, client: EtcdClient, timeout_seconds: float) -> None:
        """Raises the error of the last try."""
        deadline = self._clock.monotonic() + timeout_seconds
        is_told = False
        while True:
            try:
                await client.range(self.marker_key)
                return
            except EtcdError as error:
                if self._clock.monotonic() >= deadline:
                    raise
                if not is_told:
                    log.warning("waiting for etcd", extra={"cause": str(error)})
                    is_told = True
            await self._clock.sleep(_POLL_SECONDS)


def _tls(access: Access) -> Tls | None:
    if not access.is_secure:
        return None
    return Tls(_read(access.cacert), _read(access.cert), _read(access.key))


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _changed_at(access: Access) -> tuple[int, ...]:
    """When each of its files was last changed, in nanoseconds; 0 for one that is not there."""
    files = (access.cacert, access.cert, access.key)
    return tuple(_mtime(Path(file)) for file in files if file)


def _mtime(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
