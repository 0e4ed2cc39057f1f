"""Parts of the client that the Store does not use."""

from collections.abc import AsyncIterator

import pytest

from common.etcd.client import EtcdClient
from common.etcd.errors import Compacted, LeaseNotFound
from common.etcd.types import Compare, Delete, Get, Put
from master.storage.embedded import EmbeddedEtcd
from tests.servers.etcd import etcd

__all__ = ["etcd"]

pytestmark = pytest.mark.etcd


@pytest.fixture
async def client(etcd: EmbeddedEtcd) -> AsyncIterator[EtcdClient]:
    client = etcd.client()
    yield client
    await client.close()


async def test_leases(client: EtcdClient) -> None:
    lease = await client.lease_grant(60)
    await client.txn([], [Put(b"/k", b"v", lease)])
    assert (await client.range(b"/k")).items[0].lease == lease
    assert await client.lease_keepalive(lease) == 60
    await client.lease_revoke(lease)
    assert (await client.range(b"/k")).items == ()
    with pytest.raises(LeaseNotFound):
        await client.lease_keepalive(lease)
    with pytest.raises(LeaseNotFound):
        await client.lease_revoke(lease)


async def test_transactions_return_what_they_read_and_their_revision(client: EtcdClient) -> None:
    done = await client.txn([Compare(b"/k", 0)], [Put(b"/k", b"1"), Get(b"/k")])
    assert done.succeeded and done.responses[1][0].mod_revision == done.revision
    refused = await client.txn([Compare(b"/k", 0)], [Delete(b"/k")], [Get(b"/k"), Get(b"/none")])
    assert not refused.succeeded and refused.revision == done.revision
    assert [[item.value for item in read] for read in refused.responses] == [[b"1"], []]


async def test_compaction_and_status(client: EtcdClient) -> None:
    revision = (await client.txn([], [Put(b"/k", b"1")])).revision
    revision = (await client.txn([], [Put(b"/k", b"2")])).revision
    await client.compact(revision)
    with pytest.raises(Compacted):
        await client.compact(revision)
    with pytest.raises(Compacted) as caught:
        await anext(client.watch(b"/k", start_revision=1))
    assert caught.value.revision == revision
    status = await client.status()
    assert status.revision == revision and status.leader_id == status.member_id != 0


async def test_batches_larger_than_a_message_arrive_whole(client: EtcdClient) -> None:
    """Fragments are put together again: 24 MB of events, and each revision in one piece."""
    value = b"x" * 1_200_000
    revisions = [(await client.txn([], [Put(b"/k", value)])).revision for _ in range(20)]
    watch = client.watch(b"/k", start_revision=revisions[0], previous=True)
    found: list[int] = []
    while len(found) < len(revisions):
        found += [event.item.mod_revision for event in (await anext(watch)).events]
    await watch.aclose()
    assert found == revisions
