"""Lists: pages, old revisions, whole segments."""

import pytest

from master.storage.keys import InvalidKey
from master.storage.store import Compacted, FutureRevision, Store

PODS = "/wherry/registry/pods/"


def key(number: int) -> str:
    return f"{PODS}default/p{number:04}"


async def test_pages_at_one_revision_while_others_write(store: Store) -> None:
    for number in range(10):
        last = await store.create(key(number), b"%d" % number)
    first = await store.list(PODS, limit=4)
    assert [item.key for item in first.items] == [key(n) for n in range(4)]
    assert (first.revision, first.more, first.remaining) == (last, True, 6)

    item, _ = await store.get(key(7))
    assert item is not None
    await store.delete(key(7), expected_revision=item.revision)
    await store.create(PODS + "default/zzz", b"new")
    second = await store.list(PODS, start_after=key(3), limit=4, revision=first.revision)
    assert [item.value for item in second.items] == [b"4", b"5", b"6", b"7"]
    assert (second.revision, second.more, second.remaining) == (last, True, 2)
    third = await store.list(PODS, start_after=key(7), limit=4, revision=first.revision)
    assert [item.value for item in third.items] == [b"8", b"9"]
    assert (third.revision, third.more, third.remaining) == (last, False, 0)


async def test_list_without_limit_is_complete_and_current(store: Store) -> None:
    for number in range(1_010):
        await store.create(key(number), b"")
    page = await store.list(PODS)
    assert [item.key for item in page.items] == [key(n) for n in range(1_010)]
    assert (page.revision, page.more, page.remaining) == (await store.revision(), False, 0)


async def test_prefix_is_of_whole_segments(store: Store) -> None:
    await store.create("/wherry/registry/pods/a/x", b"")
    await store.create("/wherry/registry/pods/ab/x", b"")
    await store.create("/wherry/registry/pods0/a/x", b"")
    assert [item.key for item in (await store.list(PODS + "a/")).items] == [PODS + "a/x"]
    assert len((await store.list(PODS)).items) == 2
    assert len((await store.list(PODS, start_after="/a")).items) == 2
    assert (await store.list(PODS, start_after=PODS + "b")).items == []
    with pytest.raises(InvalidKey):
        await store.list(PODS + "a")


async def test_revisions_that_are_gone_or_not_yet(store: Store) -> None:
    first = await store.create(key(1), b"1")
    second = await store.update(key(1), b"2", expected_revision=first)
    await store.create(key(2), b"1")
    await store.compact(second)
    await store.compact(first)
    with pytest.raises(Compacted):
        await store.list(PODS, revision=first)
    page = await store.list(PODS, revision=second)
    assert [(item.key, item.value) for item in page.items] == [(key(1), b"2")]
    with pytest.raises(FutureRevision):
        await store.list(PODS, revision=await store.revision() + 1)
    with pytest.raises(FutureRevision):
        await store.compact(await store.revision() + 1)
