"""What only a real store can suffer: death under a watch, and silence after a write."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from master.storage.embedded import EmbeddedEtcd
from master.storage.etcd import EtcdStore
from master.storage.store import (
    Change,
    KeyExists,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from tests.contract.store.watching import changes

PODS = "/wherry/registry/pods/"

pytestmark = pytest.mark.etcd


async def create_surely(store: EtcdStore, name: str) -> None:
    """Create a key whatever happens to etcd meanwhile."""
    while True:
        try:
            await store.create(PODS + name, b"1")
            return
        except KeyExists:
            return  # an earlier try whose outcome was unknown
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.02)


async def test_watch_survives_kill_of_etcd_without_loss_or_repetition(
    etcd: EmbeddedEtcd, etcd_store: EtcdStore
) -> None:
    seen: list[Change] = []

    async def watch() -> None:
        async with aclosing(etcd_store.watch(PODS, start_revision=1)) as batches:
            async for batch in batches:
                seen.extend(batch)
                if len(seen) >= 300:
                    return

    watching = asyncio.create_task(watch())
    for number in range(300):
        if number in (100, 200):
            while len(seen) < number:  # the watch stands in the middle of its stream
                await asyncio.sleep(0.01)
            assert etcd.pid is not None
            os.kill(etcd.pid, signal.SIGKILL)
        await create_surely(etcd_store, f"p{number:03}")
    await asyncio.wait_for(watching, 30)
    assert [one.key for one in seen] == [f"{PODS}p{number:03}" for number in range(300)]
    revisions = [one.revision for one in seen]
    assert revisions == sorted(set(revisions))


async def test_outcome_of_a_timed_out_write_is_unknown_until_read(etcd: EmbeddedEtcd) -> None:
    client = etcd.client(timeout_seconds=0.5)
    store = EtcdStore(client)
    pid = etcd.pid
    assert pid is not None
    try:
        await settled(store, PODS + "a")  # the connection stands, so that the write is sent
        os.kill(pid, signal.SIGSTOP)
        try:
            await stopped(pid)
            with pytest.raises(OutcomeUnknown):
                await store.create(PODS + "a", b"1")
            with pytest.raises(Unavailable):
                await store.get(PODS + "a")
        finally:
            os.kill(pid, signal.SIGCONT)
        # Whether etcd still carries it out is a race that nobody can know: the read decides.
        if await settled(store, PODS + "a") is None:
            await create_surely(store, "a")
        assert [one.value for one in await changes(store, PODS, 1, 1)] == [b"1"]
    finally:
        await client.close()


async def stopped(pid: int) -> None:
    """Wait until no thread of a process runs: a signal takes its time on a busy machine."""
    async with asyncio.timeout(20):
        while {_state(task) for task in Path(f"/proc/{pid}/task").iterdir()} != {"T"}:
            await asyncio.sleep(0.005)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


async def settled(store: EtcdStore, key: str) -> bytes | None:
    """The value of a key, once etcd answers."""
    while True:
        try:
            found, _ = await store.get(key)
            return found.value if found else None
        except StoreError:
            await asyncio.sleep(0.02)


async def test_refused_connection_is_not_an_unknown_outcome(
    etcd: EmbeddedEtcd, etcd_store: EtcdStore
) -> None:
    await etcd.stop()
    with pytest.raises(StoreError):  # the connection's death may reach us with this call
        await etcd_store.create(PODS + "a", b"1")
    with pytest.raises(Unavailable):
        await etcd_store.create(PODS + "b", b"1")


async def test_closing_the_client_ends_calls_with_our_error(etcd: EmbeddedEtcd) -> None:
    client = etcd.client()
    store = EtcdStore(client)
    await store.revision()
    watch = store.watch(PODS, start_revision=1)
    waiting = asyncio.create_task(anext(watch))
    await store.create("/wherry/registry/other/x", b"1")
    await client.close()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(StoreError):
        await store.get(PODS + "a")


async def test_closing_the_client_ends_a_watch_that_is_being_opened(etcd: EmbeddedEtcd) -> None:
    for turns in range(24):
        client = etcd.client()
        await client.status()  # the connection stands: only the watch's own stream is opened
        waiting = asyncio.create_task(anext(EtcdStore(client).watch(PODS, start_revision=1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(waiting, 10)
