"""Reading a watch in tests."""

import asyncio
from contextlib import aclosing

from master.storage.store import Change, Store


async def changes(store: Store, prefix: str, start: int, count: int) -> list[Change]:
    """The first `count` changes of a watch, or fail after a while."""
    found: list[Change] = []
    async with asyncio.timeout(20), aclosing(store.watch(prefix, start_revision=start)) as batches:
        async for batch in batches:
            found += batch
            if len(found) >= count:
                break
    assert len(found) == count, found
    return found
