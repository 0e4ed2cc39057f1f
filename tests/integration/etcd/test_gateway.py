"""The gateway answers as etcd does, for what it serves; and refuses everything else clearly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import pytest
from aetcd.rpc import rpc_pb2, rpc_pb2_grpc

from common.etcd.client import EtcdClient, prefix_end
from common.etcd.errors import Compacted, EtcdError, FutureRevision, Refused
from common.etcd.types import Event, Put, Tls
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import CertificateAuthority
from master.apiserver.rpc.gateway import Gateway
from master.storage.embedded import EmbeddedEtcd
from master.storage.etcd import EtcdStore
from master.storage.keys import registry_key
from master.storage.watchcache import WatchCache
from tests.fakes.roles import authorizer
from tests.servers.etcd import etcd

__all__ = ["etcd"]

pytestmark = pytest.mark.etcd
SERVICES = b"/wherry/registry/services/"
SLICES = b"/wherry/registry/endpointslices.discovery.k8s.io/"


def value(text: str) -> bytes:
    """A stored object."""
    return b'{"apiVersion":"v1","kind":"Service","metadata":{"name":"%s"}}' % text.encode()


@dataclass
class Served:
    """A real etcd, its store and cache, and a gateway before them."""

    etcd: EmbeddedEtcd
    store: EtcdStore
    cache: WatchCache
    ca: CertificateAuthority
    target: str

    def client(self, user: str = "system:node:n1", group: str = "system:nodes") -> EtcdClient:
        """A reader with a certificate of the cluster's."""
        pair = self.ca.issue_client(user, organizations=(group,))
        tls = Tls(self.ca.certificate_pem, pair.certificate_pem, pair.key_pem, "wherry-master")
        return EtcdClient([self.target], tls, clock=SystemClock(), rng=SystemRng())


@pytest.fixture
async def served(etcd: EmbeddedEtcd) -> AsyncIterator[Served]:
    """The gateway on a port of its own."""
    clock = SystemClock()
    client = etcd.client()
    store = EtcdStore(client)
    cache = WatchCache(store, clock)
    following = asyncio.create_task(cache.run())
    await cache.wait_for(1, 10.0)
    ca = CertificateAuthority.create("test-ca", clock)
    serving = ca.issue_server(
        "wherry-master", dns_names=("wherry-master",), addresses=("127.0.0.1",)
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (Gateway(cache, authorizer(), lambda identity: "", clock=clock),)
    )
    credentials = grpc.ssl_server_credentials(
        [(serving.key_pem, serving.certificate_pem)], ca.certificate_pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield Served(etcd, store, cache, ca, f"127.0.0.1:{port}")
    await server.stop(None)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await client.close()


@pytest.fixture(params=["etcd", "gateway"])
async def reader(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[EtcdClient]:
    """The same client, on etcd itself and on the gateway: both must answer alike."""
    made = served.etcd.client() if request.param == "etcd" else served.client()
    yield made
    await made.close()


@pytest.fixture
async def gateway(served: Served) -> AsyncIterator[EtcdClient]:
    """A node's client of the gateway."""
    made = served.client()
    yield made
    await made.close()


async def put(served: Served, name: str, text: str = "a", resource: str = "services") -> int:
    """Create or replace an object."""
    key = registry_key(resource, name, "default")
    found, _ = await served.store.get(key)
    if found is None:
        return await served.store.create(key, value(text))
    return await served.store.update(key, value(text), expected_revision=found.revision)


async def delete(served: Served, name: str) -> int:
    key = registry_key("services", name, "default")
    found, _ = await served.store.get(key)
    assert found is not None
    return await served.store.delete(key, expected_revision=found.revision)


async def collect(reader: EtcdClient, since: int, count: int, prefix: bytes) -> Sequence[Event]:
    """The first events after a revision."""
    found: list[Event] = []
    watch = reader.watch(prefix, prefix_end(prefix), start_revision=since + 1, previous=True)
    async with asyncio.timeout(20), aclosing(watch) as batches:
        async for batch in batches:
            assert batch.revision >= batch.events[-1].item.mod_revision
            found += batch.events
            if len(found) >= count:
                return found
    raise AssertionError("the watch ended")


async def test_a_range_shows_what_is_stored(served: Served, reader: EtcdClient) -> None:
    for name in ("b", "a", "c"):
        await put(served, name, name)
    revision = await put(served, "x", resource="endpointslices.discovery.k8s.io")
    found = await reader.range(SERVICES, prefix_end(SERVICES))
    names = [item.key.removeprefix(SERVICES + b"default/") for item in found.items]
    assert names == [b"a", b"b", b"c"]
    assert [item.value for item in found.items] == [value(n) for n in ("a", "b", "c")]
    assert (found.revision, found.count, found.more) == (revision, 3, False)
    assert all(item.create_revision == item.mod_revision for item in found.items)
    page = await reader.range(SERVICES, prefix_end(SERVICES), limit=2)
    assert (len(page.items), page.count, page.more) == (2, 3, True)
    assert (await reader.range(SERVICES, prefix_end(SERVICES), count_only=True)).count == 3
    [one] = (await reader.range(SERVICES + b"default/a")).items
    assert one.value == value("a")
    assert (await reader.range(SERVICES + b"default/nobody")).items == ()
    with pytest.raises(FutureRevision):
        await reader.range(SERVICES, prefix_end(SERVICES), revision=revision + 1000)


async def test_a_watch_shows_every_change_once_in_order(served: Served, reader: EtcdClient) -> None:
    since = await put(served, "a", "1")
    await put(served, "a", "2")
    await put(served, "b", "3")
    await put(served, "s", resource="endpointslices.discovery.k8s.io")
    last = await delete(served, "a")
    events = await collect(reader, since, 3, SERVICES)
    assert [(e.deleted, e.item.value) for e in events] == [
        (False, value("2")),
        (False, value("3")),
        (True, b""),
    ]
    assert events[-1].item.mod_revision == last
    assert [e.previous and e.previous.value for e in events] == [value("1"), None, value("2")]
    assert [e.item.mod_revision for e in events] == sorted(e.item.mod_revision for e in events)
    [tail] = await collect(reader, last - 1, 1, SERVICES)
    assert tail.deleted


async def test_a_read_sees_the_write_before_it(served: Served, gateway: EtcdClient) -> None:
    for number in range(30):
        revision = await put(served, "a", str(number))
        found = await gateway.range(SERVICES, prefix_end(SERVICES))
        assert found.items[0].mod_revision == revision


async def test_a_revision_that_is_forgotten_is_compacted(
    served: Served, reader: EtcdClient
) -> None:
    first = await put(served, "a", "1")
    for number in range(3):
        last = await put(served, "a", str(number))
    await served.store.compact(last)
    served.cache._forget_history(last)
    with pytest.raises(Compacted):
        await reader.range(SERVICES, prefix_end(SERVICES), revision=first)
    with pytest.raises(Compacted):
        await collect(reader, first - 1, 1, SERVICES)


async def test_progress_is_told(served: Served, reader: EtcdClient) -> None:
    since = await put(served, "a")
    stub = rpc_pb2_grpc.WatchStub(reader._connection._channel)
    call = stub.Watch()
    create = rpc_pb2.WatchCreateRequest(
        key=SERVICES, range_end=prefix_end(SERVICES), start_revision=since + 1
    )
    await call.write(rpc_pb2.WatchRequest(create_request=create))
    async with asyncio.timeout(20):
        assert (await call.read()).created
        await call.write(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))
        answer = await call.read()
    assert not answer.events
    assert answer.header.revision >= since
    call.cancel()


async def test_a_watch_can_be_cancelled_and_others_go_on(
    served: Served, reader: EtcdClient
) -> None:
    call = rpc_pb2_grpc.WatchStub(reader._connection._channel).Watch()
    for watch_id in (7, 8):
        create = rpc_pb2.WatchCreateRequest(
            key=SERVICES, range_end=prefix_end(SERVICES), watch_id=watch_id
        )
        await call.write(rpc_pb2.WatchRequest(create_request=create))
        assert (await call.read()).watch_id == watch_id
    cancel = rpc_pb2.WatchCancelRequest(watch_id=7)
    await call.write(rpc_pb2.WatchRequest(cancel_request=cancel))
    async with asyncio.timeout(20):
        answer = await call.read()
        assert (answer.watch_id, answer.canceled) == (7, True)
        await put(served, "a")
        answer = await call.read()
    assert (answer.watch_id, len(answer.events)) == (8, 1)
    call.cancel()


async def test_the_ids_of_watches_are_chosen_as_etcd_does(
    served: Served, reader: EtcdClient
) -> None:
    """0 asks for one, and the largest that a reader may choose leaves the others as they are."""
    call = rpc_pb2_grpc.WatchStub(reader._connection._channel).Watch()
    found = []
    async with asyncio.timeout(20):
        for watch_id in (1, 2**63 - 1, -5, 0, 0):
            create = rpc_pb2.WatchCreateRequest(
                key=SERVICES, range_end=prefix_end(SERVICES), watch_id=watch_id
            )
            await call.write(rpc_pb2.WatchRequest(create_request=create))
            found.append((await call.read()).watch_id)
    assert found == [1, 2**63 - 1, -5, 0, 2]
    call.cancel()


async def test_a_limit_below_one_is_none(served: Served, reader: EtcdClient) -> None:
    for name in ("a", "b"):
        await put(served, name)
    stub = rpc_pb2_grpc.KVStub(reader._connection._channel)
    for limit in (0, -1, -(2**63)):
        request = rpc_pb2.RangeRequest(key=SERVICES, range_end=prefix_end(SERVICES), limit=limit)
        answer = await stub.Range(request)
        assert (len(answer.kvs), answer.count, answer.more) == (2, 2, False)


async def test_nothing_but_services_and_endpoints_is_shown(
    served: Served, gateway: EtcdClient
) -> None:
    await served.store.create(registry_key("secrets", "s", "default"), value("s"))
    for key, end in (
        (b"/wherry/registry/secrets/", b"/wherry/registry/secrets0"),
        (b"/wherry/", b"/wherry0"),
        (b"\0", b"\0"),
        (SERVICES[:-1], b""),
        (SERVICES, SLICES + b"\xff"),
        (SERVICES, b"\0"),
        (b"/wherry/registry/servicesx/", b"/wherry/registry/servicesx0"),
    ):
        with pytest.raises(Refused):
            await gateway.range(key, end)
        with pytest.raises(EtcdError, match="read-only gateway"):
            async with asyncio.timeout(10):
                await anext(gateway.watch(key, end, start_revision=1))


async def test_every_other_call_is_refused(served: Served, gateway: EtcdClient) -> None:
    with pytest.raises(EtcdError, match="KV/Txn is not served"):
        await gateway.txn([], [Put(b"/k", b"v")])
    with pytest.raises(EtcdError, match="KV/Compact is not served"):
        await gateway.compact(1)
    with pytest.raises(EtcdError, match="LeaseGrant is not served"):
        await gateway.lease_grant(5)
    with pytest.raises(EtcdError, match="Status is not served"):
        await gateway.status()
    found, _ = await served.store.get("/k")
    assert found is None


async def test_only_nodes_and_administrators_may_read(served: Served) -> None:
    for user, group, allowed in (
        ("system:node:n1", "system:nodes", True),
        ("admin", "system:masters", True),
        ("eve", "people", False),
    ):
        client = served.client(user, group)
        try:
            if allowed:
                await client.range(SERVICES, prefix_end(SERVICES))
            else:
                with pytest.raises(Refused, match='User "eve" cannot watch resource "services"'):
                    await client.range(SERVICES, prefix_end(SERVICES))
        finally:
            await client.close()
