"""Work that grows with a request's body: done at once when it is small, in a thread when it is not.

The event loop serves everybody; what one client sends must not hold it up for 50 ms
(docs/decisions/0012-bounds.md). One thread takes it all, one piece after the other: more of them
would only take turns with each other, and with the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from common.runtime.offload import Offload

P = ParamSpec("P")
T = TypeVar("T")
LARGE_BYTES = 32 << 10
"""Less than that takes a few milliseconds in every step; a thread's turn costs a tenth of one."""


class Heavy:
    """Runs a function in place or in a thread; without an Offload always in place."""

    def __init__(self, offload: Offload | None = None) -> None:
        self._offload = offload

    async def __call__(
        self, weight: int, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `func` answers or raises. `weight` is the size in bytes of what it works on."""
        if weight < LARGE_BYTES or self._offload is None:
            return func(*args, **kwargs)
        return await self._offload(func, *args, **kwargs)
