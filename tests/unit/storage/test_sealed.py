"""Secrets are sealed in the store below, old ones too; what cannot be opened is no absence."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from common.runtime.rng import SystemRng
from common.security.keyring import Keyring, load_or_create, rotate
from master.storage.keys import registry_key
from master.storage.memory import MemoryStore
from master.storage.sealed import SealedStore, Unreadable
from master.storage.store import Conflict
from tests.fakes.clock import FakeClock

CANARY = b'{"metadata":{"name":"a"},"data":{"k":"canary"}}'
A, B = registry_key("secrets", "a", "n"), registry_key("secrets", "b", "n")
MAP = registry_key("configmaps", "a", "n")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return load_or_create(tmp_path / "keys", SystemRng())


@pytest.fixture
def below() -> MemoryStore:
    return MemoryStore(FakeClock())


async def raw(below: MemoryStore, key: str) -> bytes:
    found, _ = await below.get(key)
    assert found is not None
    return found.value


async def test_secrets_are_sealed_and_nothing_else_is(below: MemoryStore, keyring: Keyring) -> None:
    store = SealedStore(below, keyring)
    await store.create(MAP, CANARY)
    revision = await store.create(A, CANARY)
    assert await raw(below, MAP) == CANARY
    assert b"canary" not in await raw(below, A)
    await store.update(A, CANARY + b" ", expected_revision=revision)
    assert b"canary" not in await raw(below, A)
    found, _ = await store.get(A)
    assert found is not None
    assert found.value == CANARY + b" "
    page = await store.list("/wherry/registry/secrets/")
    assert [item.value for item in page.items] == [CANARY + b" "]
    with pytest.raises(Conflict) as raised:
        await store.update(A, b"{}", expected_revision=revision)
    assert raised.value.current.value == CANARY + b" "


async def test_a_watch_shows_what_was_written(below: MemoryStore, keyring: Keyring) -> None:
    store = SealedStore(below, keyring)
    revision = await store.create(A, CANARY)
    await store.delete(A, expected_revision=revision)
    async with aclosing(store.watch("/wherry/", start_revision=1)) as batches:
        changes = []
        async for batch in batches:
            changes += batch
            if len(changes) == 2:
                break
    assert (changes[0].value, changes[1].value) == (CANARY, None)
    assert changes[1].previous is not None
    assert changes[1].previous.value == CANARY


async def test_what_is_there_from_before_is_sealed_and_rotated(
    below: MemoryStore, keyring: Keyring, tmp_path: Path
) -> None:
    for number in range(450):
        await below.create(registry_key("secrets", f"s{number:03}", "n"), CANARY)
    assert await SealedStore(below, keyring).seal_everything() == 450
    assert await SealedStore(below, keyring).seal_everything() == 0
    newer = rotate(tmp_path / "keys", SystemRng())
    assert await SealedStore(below, newer).seal_everything() == 450
    only = Keyring({newer.current: newer.keys[newer.current]}, SystemRng())
    page = await SealedStore(below, only).list("/wherry/registry/secrets/")
    assert [item.value for item in page.items] == [CANARY] * 450


async def test_what_cannot_be_opened_is_an_error_everywhere(
    below: MemoryStore, keyring: Keyring, tmp_path: Path
) -> None:
    await SealedStore(below, keyring).create(A, CANARY)
    await below.create(B, await raw(below, A))
    stranger = load_or_create(tmp_path / "other", SystemRng())
    for ring, key in ((keyring, B), (stranger, A)):
        store = SealedStore(below, ring)
        with pytest.raises(Unreadable):
            await store.get(key)
        with pytest.raises(Unreadable):
            await store.list("/wherry/registry/secrets/")
        with pytest.raises(Unreadable):
            await store.seal_everything() if ring is stranger else await store.get(B)
