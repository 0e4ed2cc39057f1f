"""What a call costs, whatever else the process has to do."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 3


def least_cpu_seconds(call: Callable[[], object]) -> float:
    """The least CPU time of some tries: a collection of all that other tests have left may come
    into one of them."""
    found = []
    for _ in range(TRIES):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)
