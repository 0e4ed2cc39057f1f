"""Every test of this directory runs on each Store."""

from collections.abc import AsyncIterator

import pytest

from common.runtime.clock import SystemClock
from master.storage.etcd import EtcdStore
from master.storage.memory import MemoryStore
from master.storage.store import Store
from tests.fakes.etcd import etcd, etcd_store, running_etcd

__all__ = ["etcd", "etcd_store"]


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty Store."""
    if request.param == "memory":
        memory = MemoryStore(SystemClock())
        yield memory
        memory.close()
        return
    async with running_etcd() as server:
        client = server.client()
        yield EtcdStore(client)
        await client.close()
