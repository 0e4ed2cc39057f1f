"""Keys from validated segments, whose data it is, and when history is given up."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.storage.compactor import Compactor, compactable
from master.storage.keys import (
    InvalidKey,
    allocation_key,
    registry_key,
    registry_prefix,
    segment,
)
from master.storage.marker import ForeignData, Verdict, judge
from master.storage.memory import MemoryStore
from master.storage.store import Compacted
from tests.fakes.clock import FakeClock


def test_keys() -> None:
    assert registry_key("pods", "web", "default") == "/wherry/registry/pods/default/web"
    assert registry_key("apps/deployments".replace("/", "."), "a") == (
        "/wherry/registry/apps.deployments/a"
    )
    assert registry_prefix("pods") == "/wherry/registry/pods/"
    assert registry_prefix("pods", "a") == "/wherry/registry/pods/a/"
    assert allocation_key("clusterips", "10.43.0.1") == "/wherry/alloc/clusterips/10.43.0.1"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a/b", "/", "a\0", "a\n", "\x7f", "x" * 254, "\ud800"]
)
def test_bad_segments(text: str) -> None:
    for build in (segment, lambda name: registry_key("pods", name, "default")):
        with pytest.raises(InvalidKey):
            build(text)
    if text:
        with pytest.raises(InvalidKey):
            registry_key("pods", "web", text)


@given(st.text(max_size=300))
def test_a_segment_is_taken_as_it_is_or_refused(text: str) -> None:
    try:
        key = registry_key("pods", text, "default")
    except InvalidKey:
        return
    assert key.split("/") == ["", "wherry", "registry", "pods", "default", text]


@pytest.mark.parametrize(
    ("file_text", "key_uid", "empty", "verdict"),
    [
        (None, None, True, Verdict.BEGIN),
        ("u new", None, True, Verdict.WRITE_KEY),
        ("u new", "u", False, Verdict.FINISH),
        ("u", "u", False, Verdict.OURS),
    ],
)
def test_marker_accepts(
    file_text: str | None, key_uid: str | None, empty: bool, verdict: Verdict
) -> None:
    assert judge(file_text, key_uid, empty=empty) is verdict


@pytest.mark.parametrize(
    ("file_text", "key_uid", "empty"),
    [
        (None, None, False),
        (None, "v", False),
        ("u", None, True),
        ("u", None, False),
        ("u", "v", False),
        ("u new", "v", False),
        ("u new", None, False),
    ],
)
def test_marker_refuses(file_text: str | None, key_uid: str | None, empty: bool) -> None:
    with pytest.raises(ForeignData):
        judge(file_text, key_uid, empty=empty)


def test_only_old_samples_are_compacted() -> None:
    samples = [(0.0, 10), (300.0, 20), (600.0, 30)]
    assert compactable(samples, 299.0, 300.0) == 0
    assert compactable(samples, 300.0, 300.0) == 10
    assert compactable(samples, 650.0, 300.0) == 20


async def test_compactor_keeps_five_minutes() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    first = await store.create("/wherry/registry/pods/a/a", b"1")
    running = asyncio.create_task(Compactor(store, clock).run())
    await clock.advance(200)
    second = await store.update("/wherry/registry/pods/a/a", b"2", expected_revision=first)
    await clock.advance(99)
    assert (await store.list("/wherry/registry/", revision=first)).revision == first
    await clock.advance(1)
    with pytest.raises(Compacted):
        await store.list("/wherry/registry/", revision=first)
    await clock.advance(299)
    assert (await store.list("/wherry/registry/", revision=second)).revision == second
    await clock.advance(1)
    with pytest.raises(Compacted):
        await store.list("/wherry/registry/", revision=second)
    now = await store.list("/wherry/registry/", revision=second + 1)  # as of five minutes ago
    assert [item.revision for item in now.items] == [second]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_history_ends_also_where_nothing_is_written() -> None:
    """A list that is continued expires within ten minutes, as kube-apiserver's does."""
    clock = FakeClock()
    store = MemoryStore(clock)
    running = asyncio.create_task(Compactor(store, clock).run())
    await clock.advance(1)
    last = await store.create("/wherry/registry/pods/a/a", b"1")
    await clock.advance(300)
    await store.list("/wherry/registry/", revision=last)
    await clock.advance(300)
    with pytest.raises(Compacted):
        await store.list("/wherry/registry/", revision=last)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_two_masters_compact_one_store() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    compactors = [Compactor(store, clock), Compactor(store, clock)]
    await asyncio.gather(*(one.step() for one in compactors))
    await clock.advance(300)
    assert all(await asyncio.gather(*(one.step() for one in compactors)))
