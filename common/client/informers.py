"""The informers of all resources that are stored, by plural and group; some come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from common.api.resource import Resource
from common.client.informer import Informer, Lister

Follower = Callable[[Informer], None]


class Informers(Mapping[str, Informer]):
    """Those of the resources that are served now.

    The first ones are run by whoever made this; those that are added later run in `run_later`.
    """

    def __init__(self, first: Mapping[str, Informer]) -> None:
        self._informers = dict(first)
        self._first = frozenset(first.values())
        self._followers: list[Follower] = []
        self._changed = asyncio.Event()

    def __getitem__(self, name: str) -> Informer:
        return self._informers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._informers)

    def __len__(self) -> int:
        return len(self._informers)

    def follow(self, follower: Follower) -> None:
        """Call with each informer that is added from now on, before it runs."""
        self._followers.append(follower)

    def add(self, informer: Informer) -> None:
        """Run an informer, in place of one of the same resource."""
        self._informers[informer.lister.resource.group_resource] = informer
        for follower in self._followers:
            follower(informer)
        self._changed.set()

    def remove(self, resource: Resource) -> None:
        """End the informer of a resource. Nobody is told of the objects that it has shown."""
        self._informers.pop(resource.group_resource, None)
        self._changed.set()

    async def run_later(self) -> None:
        """Run the informers that were added for as long as they are here, until cancelled."""
        running: dict[Informer, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wanted = set(self._informers.values()) - self._first
                for gone in running.keys() - wanted:
                    running.pop(gone).cancel()
                for new in wanted - running.keys():
                    running[new] = group.create_task(new.run())
                await self._changed.wait()


class Listers(Mapping[str, Lister]):
    """The listers of informers, whichever there are."""

    def __init__(self, informers: Mapping[str, Informer]) -> None:
        self._informers = informers

    def __getitem__(self, name: str) -> Lister:
        return self._informers[name].lister

    def __iter__(self) -> Iterator[str]:
        return iter(self._informers)

    def __len__(self) -> int:
        return len(self._informers)
