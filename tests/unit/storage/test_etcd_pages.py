"""A list is read from etcd in pages that fit the size of what is in them."""

from __future__ import annotations

from typing import Any, cast

from common.etcd.client import EtcdClient
from common.etcd.types import KeyValue, RangeResult
from master.storage.etcd import EtcdStore

PREFIX = "/wherry/registry/configmaps/"


class Client:
    """Keys in memory; remembers how large its answers were."""

    def __init__(self, sizes: list[int]) -> None:
        self.answers: list[int] = []
        self._items = [
            KeyValue(f"{PREFIX}{number:05}".encode(), b"x" * size, 1, 1)
            for number, size in enumerate(sizes)
        ]

    async def lease_grant(self, ttl_seconds: int) -> int:
        raise AssertionError("nothing is written")

    async def range(
        self, key: bytes, end: bytes, *, limit: int, revision: int, **_: Any
    ) -> RangeResult:
        found = [item for item in self._items if key <= item.key < end]
        page = tuple(found[:limit])
        self.answers.append(sum(len(item.value) for item in page))
        return RangeResult(page, len(found) > len(page), len(found), revision or 7)


def store(client: Client) -> EtcdStore:
    return EtcdStore(cast(EtcdClient, client))


async def test_large_objects_come_few_at_a_time() -> None:
    client = Client([1_000_000] * 60)
    page = await store(client).list(PREFIX, limit=50)
    assert [item.key for item in page.items] == [f"{PREFIX}{number:05}" for number in range(50)]
    assert (page.more, page.remaining, page.revision) == (True, 10, 7)
    assert max(client.answers) <= 8_000_000
    everything = await store(client).list(PREFIX)
    assert (len(everything.items), everything.more, everything.remaining) == (60, False, 0)
    assert max(client.answers) <= 8_000_000


async def test_small_objects_take_few_answers() -> None:
    client = Client([500] * 5000)
    assert len((await store(client).list(PREFIX)).items) == 5000
    assert len(client.answers) <= 15
    start_after = f"{PREFIX}00010"
    page = await store(client).list(PREFIX, start_after=start_after, limit=3, revision=5)
    assert [item.key[-2:] for item in page.items] == ["11", "12", "13"]
    assert (page.more, page.remaining, page.revision) == (True, 5000 - 14, 5)
