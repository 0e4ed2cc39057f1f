"""What an operator needs beside its reconcile: handlers that fill the queue, and a way to run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from common.api.resource import Resource
from common.client.informer import Handler, Informer, Item
from common.client.workqueue import WorkQueue


def add_to(queue: WorkQueue) -> Handler:
    """A handler that adds the key of each object that changes."""

    def handle(resource: Resource, old: Item | None, new: Item | None) -> None:
        changed = new or old
        assert changed is not None
        queue.add(changed.key)

    return handle


def add_owner_to(queue: WorkQueue, kind: str) -> Handler:
    """A handler that adds the key of the `kind` that controls what changes, now or before."""

    def handle(resource: Resource, old: Item | None, new: Item | None) -> None:
        for item in (old, new):
            if item is not None and (owner := item.controller) and owner.kind == kind:
                queue.add(f"{item.namespace}/{owner.name}" if item.namespace else owner.name)

    return handle


async def start(
    informers: Sequence[Informer], queue: WorkQueue, reconcile: Callable[[str], Awaitable[None]]
) -> None:
    """Run the informers, and reconcile once they know everything, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for informer in informers:
            group.create_task(informer.run())
        for informer in informers:
            await informer.synced.wait()
        group.create_task(queue.work(reconcile))
