"""Blocking calls leave the event loop through an `Offload`."""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """A bounded pool of threads: `await offload(func, *args, **kwargs)`.

    Calls beyond the bound wait their turn. A cancelled caller stops waiting, but a call that
    runs already runs to its end, as threads do.
    """

    def __init__(self, threads: int = 4, name: str = "offload") -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def __call__(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `func` in a thread and hand back what it returns or raises."""
        context = contextvars.copy_context()
        call = functools.partial(context.run, func, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Drop the calls that have not begun and wait for those that have."""
        self._pool.shutdown(wait=True, cancel_futures=True)
