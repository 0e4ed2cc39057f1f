"""Fault row B3: a member of three is killed, cut off or replaced, and nothing acknowledged is lost.

How long writes were refused is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from common.etcd.client import EtcdClient
from common.etcd.maintenance import Maintenance
from common.etcd.types import Put
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from master.storage import upkeep as upkeeps
from master.storage.external import ExternalEtcd
from master.storage.store import Change
from master.storage.upkeep import Upkeep
from master.storage.watchcache import WatchCache
from tests.integration.etcd.load import (
    WRITERS,
    Load,
    check_cache,
    check_history,
    record,
    write_end,
)
from tests.servers.etcdcluster import Cluster, Member, running_cluster
from tests.servers.master import RunningMaster

pytestmark = pytest.mark.etcd
REFUSED_SECONDS = 5.0
"""Of writes that are sent meanwhile, at the most (B3)."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(3) as made:
        yield made


class Faults:
    """What is done to a cluster under load, each time to a member that matters."""

    def __init__(self, cluster: Cluster, client: EtcdClient) -> None:
        self._cluster = cluster
        self._client = client

    def _in_use(self) -> int:
        ports = [f"127.0.0.1:{one.port}" for one in self._cluster.members]
        return ports.index(self._client.endpoint)

    async def kill_the_leader(self, between: Callable[[], Awaitable[None]]) -> None:
        await self._kill(await asyncio.to_thread(self._cluster.leader), between)

    async def kill_the_one_in_use(self, between: Callable[[], Awaitable[None]]) -> None:
        await self._kill(self._in_use(), between)

    async def stop_the_one_in_use(self, between: Callable[[], Awaitable[None]]) -> None:
        """It keeps its connections and what was sent to it, and goes on later."""
        await self._stop(self._in_use(), between)

    async def stop_the_leader(self, between: Callable[[], Awaitable[None]]) -> None:
        await self._stop(await asyncio.to_thread(self._cluster.leader), between)

    async def replace_the_one_in_use(self, between: Callable[[], Awaitable[None]]) -> None:
        number = self._in_use()
        await asyncio.to_thread(self._cluster.remove, number)
        await between()
        made = await asyncio.to_thread(self._cluster.add, number)
        made.start()
        await asyncio.to_thread(made.wait)

    async def _kill(self, number: int, between: Callable[[], Awaitable[None]]) -> None:
        member = self._cluster.members[number]
        member.kill()
        await between()
        member.start()
        await asyncio.to_thread(member.wait)

    async def _stop(self, number: int, between: Callable[[], Awaitable[None]]) -> None:
        member: Member = self._cluster.members[number]
        member.pause()
        try:
            await between()
        finally:
            member.resume()
        await asyncio.to_thread(member.wait)


FAULTS = (
    Faults.kill_the_leader,
    Faults.stop_the_one_in_use,
    Faults.kill_the_one_in_use,
    Faults.replace_the_one_in_use,
    Faults.stop_the_leader,
)


async def test_b3_members_fail_under_write_load(cluster: Cluster, tmp_path: Path) -> None:
    etcd = ExternalEtcd(
        cluster.access("/b3"), tmp_path / "etcd", clock=SystemClock(), rng=SystemRng()
    )
    await etcd.start()
    client, watch_client = etcd.client(), etcd.client()
    store, watch_store = etcd.store(client), etcd.store(watch_client)
    load, seen, complete = Load(store), [], asyncio.Event()
    cache = WatchCache(watch_store, SystemClock())
    caching = asyncio.create_task(cache.run())
    faults, chance = Faults(cluster, client), random.Random(3)
    try:
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(load.write(number)) for number in range(WRITERS)]
            writers.append(group.create_task(load.newcomers()))
            group.create_task(record(watch_store, seen, complete))
            for fault in FAULTS:
                await load.progress(chance.randrange(20, 200))
                began = time.monotonic()
                await fault(faults, lambda: load.progress(chance.randrange(20, 200)))
                await load.progress(20)
                silence = load.longest_silence(began)
                print(f"{fault.__name__}: no write was acknowledged for {silence:.2f} s")
                assert silence < REFUSED_SECONDS
            load.stopped = True
            await asyncio.gather(*writers)
            end_revision = await write_end(store)
            await complete.wait()
        check_history(load, seen)
        history: list[Change] = []
        await record(store, history, complete)
        assert seen == history, "a live watch and a later one from the start tell the same"
        await check_cache(cache, store, end_revision)
        print(f"{len(load.acknowledged)} writes acknowledged, {len(load.unknown)} unknown")
    finally:
        caching.cancel()
        await asyncio.gather(caching, return_exceptions=True)
        await client.close()
        await watch_client.close()


MAPS = "/api/v1/namespaces/default/configmaps"


class RestWriter:
    """Creates ConfigMaps one after the other, as a client that reads when it does not know."""

    def __init__(self, master: RunningMaster) -> None:
        self._client = master.admin()
        self.acknowledged: list[str] = []
        self.refusals: list[int] = []
        self.longest_seconds = 0.0
        """Until a create was answered with success, at the worst."""

    def create(self, count: int) -> None:
        """Create `count` more, whatever it takes."""
        for _ in range(count):
            began = time.monotonic()
            self._create(f"c{len(self.acknowledged):04}")
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)

    def _create(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        is_unknown = False
        while True:
            status, said = self._client.request("POST", MAPS, json.dumps(body).encode())
            if status == 201 or (status == 409 and is_unknown):
                self.acknowledged.append(name)
                return
            assert status in (503, 504), said
            is_unknown |= status == 504
            self.refusals.append(status)
            time.sleep(0.05)


class RestWatch(threading.Thread):
    """One watch of all ConfigMaps, from before the first one to the one that is named."""

    def __init__(self, master: RunningMaster, last: str) -> None:
        super().__init__()
        self._last = last
        self.seen: list[tuple[str, str, int]] = []
        context = master.context(master.kubeconfig.certificate)
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", master.port, context=context, timeout=30
        )
        status, listed = master.admin().request("GET", MAPS)
        assert status == 200
        revision = json.loads(listed)["metadata"]["resourceVersion"]
        self._connection.request("GET", f"{MAPS}?watch=1&resourceVersion={revision}")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def run(self) -> None:
        with contextlib.closing(self._connection):
            for line in self._answer:
                event = json.loads(line)
                metadata = event["object"]["metadata"]
                revision = int(metadata["resourceVersion"])
                self.seen.append((event["type"], metadata.get("name", ""), revision))
                if metadata.get("name") == self._last:
                    return


def test_b3_clients_of_the_api_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    master = RunningMaster(tmp_path)
    master.settings = tmp_path / "config.yaml"
    access = cluster.access("/rest")
    settings = {
        "etcd-endpoints": list(access.endpoints),
        "etcd-prefix": access.prefix,
        **{f"etcd-{name}": getattr(access, name) for name in ("cacert", "cert", "key")},
    }
    master.settings.write_text(json.dumps(settings))
    try:
        master.start()
        writer, watch = RestWriter(master), RestWatch(master, "c0119")
        watch.start()
        writer.create(30)
        leader = cluster.members[cluster.leader()]
        leader.kill()
        writer.create(30)
        leader.start()
        leader.wait()
        leader = cluster.members[cluster.leader()]
        leader.pause()
        try:
            writer.create(30)
        finally:
            leader.resume()
        leader.wait()
        writer.create(30)
        watch.join(30)
        status, listed = master.admin().request("GET", MAPS)
    finally:
        master.stop()
    assert status == 200
    names = [f"c{number:04}" for number in range(120)]
    assert writer.acknowledged == names
    found = [each["metadata"]["name"] for each in json.loads(listed)["items"]]
    assert [name for name in found if name in names] == names
    seen = [event for event in watch.seen if event[1] in names]
    assert [(kind, name) for kind, name, _ in seen] == [("ADDED", name) for name in names]
    revisions = [revision for *_, revision in seen]
    assert revisions == sorted(set(revisions))
    print(f"refused: {writer.refusals}; the longest create took {writer.longest_seconds:.1f} s")


async def test_members_give_back_what_is_free_one_after_the_other(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an etcd that is ours alone: others may have something to do that we do not see."""
    monkeypatch.setattr(upkeeps, "SPARE_LEAST_BYTES", 1 << 20)
    clock = SystemClock()
    etcd = ExternalEtcd(cluster.access("/upkeep"), tmp_path / "etcd", clock=clock, rng=SystemRng())
    await etcd.start()
    client = etcd.client()
    maintenance, defragmented = etcd.maintenance(), []

    async def defragment(endpoint: str) -> None:
        defragmented.append(endpoint)
        await Maintenance.defragment(maintenance, endpoint)

    monkeypatch.setattr(maintenance, "defragment", defragment)
    try:
        for _ in range(10):
            await client.txn([], [Put(b"/upkeep/large", b"x" * 1_000_000)])
        await client.compact((await client.status()).revision, physical=True)
        before = await sizes(maintenance)
        shy = Upkeep(client, maintenance, etcd.is_alone, clock)
        assert not any([await shy.step(), await shy.step()]) and not defragmented

        async def is_alone(_: EtcdClient) -> bool:
            return True

        upkeep = Upkeep(client, maintenance, is_alone, clock)
        assert not await upkeep.step(), "it does not know yet whether there is much to do"
        leader = cluster.members[await asyncio.to_thread(cluster.leader)]
        async with asyncio.timeout(30):
            while min(await spare(maintenance)) < 8_000_000:
                # Members count what is free when they write.
                await client.txn([], [Put(b"/upkeep/small", b"")])
                await clock.sleep(0.2)
            while len(defragmented) < 3:
                await upkeep.step()
        after = await sizes(maintenance)
        assert all(after[one] < before[one] - 5_000_000 for one in before)
        assert sorted(defragmented) == sorted(before)
        assert defragmented[-1] == f"127.0.0.1:{leader.port}"
        assert (await client.range(b"/upkeep/large")).count == 1
    finally:
        await maintenance.close()
        await client.close()


async def sizes(maintenance: Maintenance) -> dict[str, int]:
    """Of the members' files."""
    return {one: (await maintenance.status(one)).database_bytes for one in maintenance.endpoints}


async def spare(maintenance: Maintenance) -> list[int]:
    """Of the members' files, what is free."""
    found = [await maintenance.status(one) for one in maintenance.endpoints]
    return [one.database_bytes - one.in_use_bytes for one in found]
