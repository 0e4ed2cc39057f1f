"""Every test of this directory runs on each Store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.keyring import load_or_create
from master.storage.etcd import EtcdStore
from master.storage.memory import MemoryStore
from master.storage.sealed import SealedStore
from master.storage.store import Store
from tests.fakes.etcd import etcd, etcd_store, running_etcd

__all__ = ["etcd", "etcd_store"]


@pytest.fixture(params=["memory", "sealed", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty Store."""
    if request.param != "etcd":
        memory = MemoryStore(SystemClock())
        keyring = load_or_create(tmp_path / "keys", SystemRng())
        yield memory if request.param == "memory" else SealedStore(memory, keyring)
        memory.close()
        return
    async with running_etcd() as server:
        client = server.client()
        yield EtcdStore(client)
        await client.close()
