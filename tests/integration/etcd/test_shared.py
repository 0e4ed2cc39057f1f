"""A master on an etcd that it shares: with another Wherry, and with programs of others."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.client.https import HttpsClient
from common.etcd.types import Put
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.systemd.exits import CONFIGURATION
from master.storage.external import ExternalEtcd, ExternalEtcdError
from master.storage.marker import ForeignData
from master.storage.watchcache import WatchCache
from tests.servers.etcdcluster import Cluster, running_cluster
from tests.servers.master import RunningMaster

pytestmark = pytest.mark.etcd
POD = "/wherry/registry/pods/default/web"
VALUE = b'{"metadata":{"name":"web","namespace":"default"}}'


def external(cluster: Cluster, directory: Path, prefix: str = "/wherry") -> ExternalEtcd:
    return ExternalEtcd(cluster.access(prefix), directory, clock=SystemClock(), rng=SystemRng())


async def test_an_etcd_is_shared_and_each_sees_its_own(tmp_path: Path) -> None:
    with running_cluster() as cluster:
        one, two = external(cluster, tmp_path / "1"), external(cluster, tmp_path / "2", "/b")
        foreign = one.client()
        await foreign.txn([], [Put(b"/of/others", b"1")])
        await one.start()
        await two.start()
        clients = [one.client(), two.client()]
        first, second = (
            each.store(client) for each, client in zip((one, two), clients, strict=True)
        )
        cache = WatchCache(first, SystemClock())
        running = asyncio.create_task(cache.run())
        try:
            revision = await first.create(POD, VALUE)
            await foreign.txn([], [Put(b"/of/others", b"2")])
            await second.create(POD, VALUE)
            assert await first.revision() == revision, "writes of others are none of ours"
            await cache.wait_for(await cache.consistent_revision(), 5)
            assert [each.key for each in cache.list("/wherry/registry/pods/")] == [POD]
            assert [each.key for each in (await second.list("/wherry/registry/")).items] == [POD]
            assert (await foreign.range(b"/b/registry/pods/default/web")).count == 1
            with pytest.raises(ForeignData, match=r"holds data of cluster .*below /b; file .*/3/"):
                await external(cluster, tmp_path / "3", "/b").start()
            with pytest.raises(ForeignData, match="holds no cluster's data, but this master"):
                await external(cluster, tmp_path / "1", "/c").start()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for client in (*clients, foreign):
                await client.close()


async def test_an_etcd_that_is_away_is_named(tmp_path: Path) -> None:
    with running_cluster() as cluster:
        cluster.stop()
        with pytest.raises(ExternalEtcdError, match=r"etcd at https://.* cannot be used: "):
            await external(cluster, tmp_path / "1").start(timeout_seconds=0)


def test_a_master_needs_no_etcd_of_its_own(tmp_path: Path) -> None:
    with running_cluster() as cluster:
        master = RunningMaster(tmp_path)
        master.settings = tmp_path / "config.yaml"
        access = cluster.access("/of/this")
        settings = {
            "etcd-endpoints": list(access.endpoints),
            "etcd-cacert": access.cacert,
            "etcd-cert": access.cert,
            "etcd-key": access.key,
            "etcd-prefix": access.prefix,
        }
        master.settings.write_text(json.dumps(settings))
        try:
            master.start()
            _create(master.admin(), "a")
        finally:
            master.stop()
        assert not (tmp_path / "data/etcd/data").exists()
        keys = cluster.members[0].keys("/")
        assert "/of/this/registry/configmaps/default/a" in keys
        assert all(key.startswith("/of/this/") for key in keys)


def _create(client: HttpsClient, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    status, said = client.request(
        "POST", "/api/v1/namespaces/default/configmaps", json.dumps(body).encode()
    )
    assert status == 201, said


def test_a_mistake_is_one_line_and_the_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "master", "--config", "/dev/null", "--data-dir", str(tmp_path)]
    command += ["--etcd-endpoints", "https://10.0.0.1:2379", "--etcd-cacert", "/none"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == CONFIGURATION
    assert ended.stderr == "wherry-master: etcd-cacert: /none: no such file or directory\n"
