"""Every test of this directory runs on each Store."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.keyring import load_or_create
from master.storage.etcd import EtcdStore
from master.storage.external import ExternalEtcd
from master.storage.memory import MemoryStore
from master.storage.sealed import SealedStore
from master.storage.store import Store
from tests.servers.etcd import etcd, etcd_store, running_etcd
from tests.servers.etcdcluster import Cluster, running_cluster

__all__ = ["etcd", "etcd_store"]


@pytest.fixture(scope="session")
def shared_etcd() -> Iterator[Cluster]:
    """An etcd that is not ours: each test has a prefix of it."""
    with running_cluster() as made:
        yield made


STORES = (
    "memory",
    "sealed",
    *(pytest.param(x, marks=pytest.mark.etcd) for x in ("etcd", "shared")),
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty Store."""
    if request.param in ("memory", "sealed"):
        memory = MemoryStore(SystemClock())
        keyring = load_or_create(tmp_path / "keys", SystemRng())
        yield memory if request.param == "memory" else SealedStore(memory, keyring)
        memory.close()
    elif request.param == "etcd":
        async with running_etcd() as server:
            client = server.client()
            yield EtcdStore(client)
            await client.close()
    else:
        cluster: Cluster = request.getfixturevalue("shared_etcd")
        access = cluster.access(f"/tests/{uuid.uuid4().hex}")
        external = ExternalEtcd(access, tmp_path / "etcd", clock=SystemClock(), rng=SystemRng())
        await external.start()
        client = external.client()
        yield external.store(client)
        await client.close()
