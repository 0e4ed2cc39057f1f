"""A Store that seals what is secret before another one stores it, and opens it on the way back.

Whoever reads etcd's files or a snapshot sees no Secret. A value that cannot be opened is an error,
never an absence: what looks deleted would be acted upon.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from common.security.keyring import Keyring, KeyringError
from master.storage.keys import registry_prefix
from master.storage.store import (
    Allocation,
    Change,
    Conflict,
    Guard,
    KeyValue,
    Page,
    Store,
    StoreError,
)

log = logging.getLogger(__name__)
SECRET = registry_prefix("secrets")
PAGE_SIZE = 200


class Unreadable(StoreError):
    """A stored value cannot be opened with the keys that are there."""


class SealedStore:
    """A Store over another one."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    def _seal(self, key: str, value: bytes) -> bytes:
        return self._keyring.seal(key, value) if key.startswith(SECRET) else value

    def _open_value(self, key: str, value: bytes) -> bytes:
        if not key.startswith(SECRET):
            return value
        try:
            return self._keyring.open(key, value)
        except KeyringError as error:
            log.error("a stored value cannot be read", extra={"object": key, "cause": str(error)})
            raise Unreadable(str(error)) from error

    def _open(self, item: KeyValue) -> KeyValue:
        if not item.key.startswith(SECRET):
            return item
        return replace(item, value=self._open_value(item.key, item.value))

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """As the Store's."""
        value, revision = await self._store.get(key)
        return (self._open(value) if value is not None else None), revision

    async def list(
        self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """As the Store's."""
        page = await self._store.list(
            prefix, start_after=start_after, limit=limit, revision=revision
        )
        return replace(page, items=[self._open(item) for item in page.items])

    async def revision(self) -> int:
        """As the Store's."""
        return await self._store.revision()

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        guards: Sequence[Guard] = (),
        allocate: Sequence[Allocation] = (),
        ttl_seconds: int | None = None,
    ) -> int:
        """As the Store's."""
        return await self._store.create(
            key, self._seal(key, value), guards=guards, allocate=allocate, ttl_seconds=ttl_seconds
        )

    async def update(
        self,
        key: str,
        value: bytes,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        allocate: Sequence[Allocation] = (),
        release: Sequence[str] = (),
        ttl_seconds: int | None = None,
    ) -> int:
        """As the Store's."""
        try:
            return await self._store.update(
                key,
                self._seal(key, value),
                expected_revision=expected_revision,
                guards=guards,
                allocate=allocate,
                release=release,
                ttl_seconds=ttl_seconds,
            )
        except Conflict as error:
            raise Conflict(self._open(error.current)) from error

    async def delete(
        self,
        key: str,
        *,
        expected_revision: int,
        guards: Sequence[Guard] = (),
        release: Sequence[str] = (),
    ) -> int:
        """As the Store's."""
        try:
            return await self._store.delete(
                key, expected_revision=expected_revision, guards=guards, release=release
            )
        except Conflict as error:
            raise Conflict(self._open(error.current)) from error

    async def watch(
        self, prefix: str, *, start_revision: int
    ) -> AsyncGenerator[Sequence[Change], None]:
        """As the Store's."""
        async with aclosing(self._store.watch(prefix, start_revision=start_revision)) as batches:
            async for batch in batches:
                yield [self._opened(change) for change in batch]

    def _opened(self, change: Change) -> Change:
        if not change.key.startswith(SECRET):
            return change
        value, previous = change.value, change.previous
        return replace(
            change,
            value=self._open_value(change.key, value) if value is not None else None,
            previous=self._open(previous) if previous is not None else None,
        )

    async def compact(self, revision: int) -> None:
        """As the Store's."""
        await self._store.compact(revision)

    async def seal_everything(self) -> int:
        """Seal what is not yet sealed with the current key; how many values that were."""
        count, last = 0, ""
        while True:
            page = await self._store.list(SECRET, start_after=last, limit=PAGE_SIZE)
            for item in page.items:
                if self._keyring.key_id(item.value) != self._keyring.current:
                    count += await self._seal_again(item)
            if not page.more:
                return count
            last = page.items[-1].key

    async def _seal_again(self, item: KeyValue) -> bool:
        """Whether it was still as it was listed: who changes it meanwhile has sealed it."""
        opened = self._open(item)
        try:
            await self.update(item.key, opened.value, expected_revision=item.revision)
        except Conflict:
            return False
        return True
