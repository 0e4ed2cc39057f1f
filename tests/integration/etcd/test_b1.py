"""Fault row B1: etcd is killed under write load, again and again."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from common.runtime.clock import SystemClock
from master.storage.embedded import EmbeddedEtcd
from master.storage.etcd import EtcdStore
from master.storage.store import Change
from master.storage.watchcache import WatchCache
from tests.integration.etcd.load import (
    WRITERS,
    Load,
    check_cache,
    check_history,
    record,
    write_end,
)
from tests.servers.etcd import running_etcd

pytestmark = pytest.mark.etcd


class ImpatientClock(SystemClock):
    """Waits no longer than a tenth of a second for anything: many restarts in little time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.1))


@pytest.mark.parametrize(
    "rounds", [4, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)
async def test_b1_kill_etcd_under_write_load(rounds: int, tmp_path: Path) -> None:
    async with running_etcd(
        tmp_path / "etcd", unsafe_no_fsync=False, clock=ImpatientClock()
    ) as etcd:
        client, watch_client = etcd.client(), etcd.client()
        try:
            await kill_rounds(etcd, EtcdStore(client), EtcdStore(watch_client), rounds)
        finally:
            await client.close()
            await watch_client.close()


async def kill_rounds(
    etcd: EmbeddedEtcd, store: EtcdStore, watch_store: EtcdStore, rounds: int
) -> None:
    load, seen, complete = Load(store), [], asyncio.Event()
    cache = WatchCache(watch_store, SystemClock())
    background = [asyncio.create_task(cache.run())]
    chance = random.Random(1)
    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(load.write(number)) for number in range(WRITERS)]
        group.create_task(record(watch_store, seen, complete))
        for _ in range(rounds):
            await load.progress(chance.randrange(20, 200))
            pid = etcd.pid
            assert pid is not None, "it has just acknowledged a write"
            os.kill(pid, signal.SIGKILL)
        await load.progress(100)
        load.stopped = True
        await asyncio.gather(*writers)
        end_revision = await write_end(store)
        await complete.wait()
    check_history(load, seen)
    history: list[Change] = []
    await record(store, history, complete)
    assert seen == history, "a live watch and a later one from the start tell the same"
    await check_cache(cache, store, end_revision)
    background[0].cancel()
    await asyncio.gather(*background, return_exceptions=True)
