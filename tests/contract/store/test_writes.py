"""Create, update and delete: conditions, guards and allocations in one transaction."""

import pytest

from master.storage.store import (
    Allocation,
    AllocationTaken,
    Conflict,
    Guard,
    GuardFailed,
    KeyExists,
    KeyNotFound,
    KeyValue,
    Store,
    TooLarge,
)

A, B = "/wherry/registry/pods/default/a", "/wherry/registry/pods/default/b"
IP, PORT = "/wherry/alloc/clusterips/10.43.0.7", "/wherry/alloc/nodeports/30000"


async def test_create_get_update_delete(store: Store) -> None:
    created = await store.create(A, b"1")
    assert await store.get(A) == (KeyValue(A, b"1", created, created), created)
    updated = await store.update(A, b"2", expected_revision=created)
    assert updated == created + 1 == await store.revision()
    assert await store.get(A) == (KeyValue(A, b"2", created, updated), updated)
    deleted = await store.delete(A, expected_revision=updated)
    assert await store.get(A) == (None, deleted)
    again = await store.create(A, b"3")
    assert (await store.get(A))[0] == KeyValue(A, b"3", again, again)


async def test_create_only_if_absent(store: Store) -> None:
    revision = await store.create(A, b"1")
    with pytest.raises(KeyExists):
        await store.create(A, b"2")
    assert await store.get(A) == (KeyValue(A, b"1", revision, revision), revision)


async def test_stale_writers_learn_what_is_there(store: Store) -> None:
    first = await store.create(A, b"1")
    second = await store.update(A, b"2", expected_revision=first)
    for write in (
        store.update(A, b"x", expected_revision=first),
        store.delete(A, expected_revision=first),
    ):
        with pytest.raises(Conflict) as caught:
            await write
        assert caught.value.current == KeyValue(A, b"2", first, second)
    for write in (
        store.update(B, b"x", expected_revision=first),
        store.delete(B, expected_revision=first),
    ):
        with pytest.raises(KeyNotFound):
            await write
    assert await store.revision() == second


async def test_guards_hold_in_the_same_transaction(store: Store) -> None:
    leader = await store.create(B, b"me")
    good = [Guard(B, "exists"), Guard(B, leader), Guard(IP, "absent")]
    revision = await store.create(A, b"1", guards=good)
    bad = [Guard(B, "absent"), Guard(B, leader + 1), Guard(IP, "exists"), Guard(IP, 5)]
    for guard in bad:
        for write in (
            store.create(A + "x", b"1", guards=[*good, guard]),
            store.update(A, b"2", expected_revision=revision, guards=[guard]),
            store.delete(A, expected_revision=revision, guards=[guard]),
        ):
            with pytest.raises(GuardFailed) as caught:
                await write
            assert caught.value.guard == guard
    assert await store.revision() == revision
    await store.delete(A, expected_revision=revision, guards=good)


async def test_allocations_are_taken_with_the_object_or_not_at_all(store: Store) -> None:
    mine = [Allocation(IP, "svc-a"), Allocation(PORT, "svc-a")]
    first = await store.create(A, b"1", allocate=mine)
    allocated, _ = await store.get(PORT)
    assert allocated == KeyValue(PORT, b"svc-a", first, first)
    free = Allocation(IP + "1", "svc-b")
    with pytest.raises(AllocationTaken) as caught:
        await store.create(B, b"1", allocate=[free, Allocation(PORT, "svc-b")])
    assert (caught.value.key, caught.value.owner) == (PORT, "svc-a")
    assert (await store.get(free.key))[0] is None
    assert (await store.get(B))[0] is None
    assert await store.revision() == first


async def test_update_and_delete_release(store: Store) -> None:
    first = await store.create(A, b"1", allocate=[Allocation(IP, "a")])
    second = await store.update(
        A, b"2", expected_revision=first, allocate=[Allocation(PORT, "a")], release=[IP]
    )
    assert (await store.get(IP))[0] is None
    third = await store.create(B, b"1", allocate=[Allocation(IP, "b")])
    fourth = await store.delete(A, expected_revision=second, release=[PORT, PORT + "9"])
    assert [second, third, fourth] == [first + 1, first + 2, first + 3]
    assert (await store.get(PORT))[0] is None


async def test_own_key_is_reported_before_allocations_and_guards(store: Store) -> None:
    await store.create(A, b"1", allocate=[Allocation(IP, "a")])
    failing = {"allocate": [Allocation(IP, "b")], "guards": [Guard(B, "exists")]}
    with pytest.raises(KeyExists):
        await store.create(A, b"1", **failing)
    with pytest.raises(KeyNotFound):
        await store.update(B, b"1", expected_revision=1, **failing)
    with pytest.raises(AllocationTaken):
        await store.create(B, b"1", **failing)


async def test_a_value_beyond_the_limit_is_refused_whole(store: Store) -> None:
    before = await store.revision()
    with pytest.raises(TooLarge):
        await store.create(A, b"x" * 1_600_000)
    assert await store.get(A) == (None, before)
    await store.create(A, b"x" * 1_400_000)
