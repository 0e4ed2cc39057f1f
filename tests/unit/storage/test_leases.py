"""Leases that keys share."""

from __future__ import annotations

import asyncio

import pytest

from master.storage import leases
from master.storage.leases import Leases
from tests.fakes.clock import FakeClock


class Etcd:
    """Grants leases, and counts them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.granted: list[int] = []

    async def grant(self, ttl_seconds: int) -> int:
        await asyncio.sleep(0)
        self.granted.append(ttl_seconds)
        return len(self.granted)


@pytest.fixture
def etcd() -> Etcd:
    return Etcd()


@pytest.fixture
def shared(etcd: Etcd) -> Leases:
    return Leases(etcd.grant, etcd.clock)


async def test_keys_of_a_minute_share_a_lease(etcd: Etcd, shared: Leases) -> None:
    found = await asyncio.gather(*(shared.take(3600) for _ in range(100)))
    assert set(found) == {1}
    await etcd.clock.advance(59)
    assert await shared.take(3600) == 1
    await etcd.clock.advance(1)
    assert await shared.take(3600) == 2
    assert etcd.granted == [3660, 3660], "every key lives an hour"


async def test_each_time_to_live_has_leases_of_its_own(etcd: Etcd, shared: Leases) -> None:
    assert [await shared.take(3600), await shared.take(86400)] == [1, 2]
    assert [await shared.take(3600), await shared.take(86400)] == [1, 2]
    assert etcd.granted == [3660, 86460]


async def test_short_lives_are_not_stretched(etcd: Etcd, shared: Leases) -> None:
    assert [await shared.take(1), await shared.take(1)] == [1, 2]
    await shared.take(100)
    assert etcd.granted == [1, 1, 105]


async def test_a_lease_has_so_many_keys(etcd: Etcd, shared: Leases) -> None:
    for _ in range(leases.KEYS_MAX):
        assert await shared.take(3600) == 1
    assert await shared.take(3600) == 2


async def test_a_grant_that_fails_is_tried_again(etcd: Etcd) -> None:
    async def fails(ttl_seconds: int) -> int:
        if not etcd.granted:
            etcd.granted.append(0)
            raise RuntimeError("not now")
        return await etcd.grant(ttl_seconds)

    made = Leases(fails, etcd.clock)
    with pytest.raises(RuntimeError, match="not now"):
        await made.take(3600)
    assert await made.take(3600) == 2
