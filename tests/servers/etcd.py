"""A real etcd for tests: free ports, a directory of its own in memory, gone afterwards.

Import `etcd` (and, for a Store, `etcd_store`) into a conftest.py or a test module.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.runtime.clock import Clock, SystemClock
from common.runtime.rng import SystemRng
from master.storage.embedded import EmbeddedEtcd
from master.storage.etcd import EtcdStore
from tests.servers.ports import free_ports

_MEMORY = "/dev/shm"


def require_etcd() -> None:
    """Skip the test where there is no etcd; fail it in CI."""
    if shutil.which("etcd") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have an etcd")
        pytest.skip("no etcd program")


@asynccontextmanager
async def running_etcd(
    directory: Path | None = None,
    *,
    unsafe_no_fsync: bool = True,
    clock: Clock | None = None,
) -> AsyncIterator[EmbeddedEtcd]:
    """A started etcd, in `directory` if its data shall outlive it."""
    require_etcd()
    shm = _MEMORY if Path(_MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="wherry-etcd-", dir=shm) as scratch:
        client_port, peer_port = free_ports(2)
        server = EmbeddedEtcd(
            directory or Path(scratch),
            clock=clock or SystemClock(),
            rng=SystemRng(),
            client_port=client_port,
            peer_port=peer_port,
            unsafe_no_fsync=unsafe_no_fsync,
        )
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture
async def etcd() -> AsyncIterator[EmbeddedEtcd]:
    """A fresh, empty etcd."""
    async with running_etcd() as server:
        yield server


@pytest.fixture
async def etcd_store(etcd: EmbeddedEtcd) -> AsyncIterator[EtcdStore]:
    """A Store on a fresh etcd."""
    client = etcd.client()
    try:
        yield EtcdStore(client)
    finally:
        await client.close()
