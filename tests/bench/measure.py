"""What the benchmarks measure with: CPU time a call, percentiles, figures of processes."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ROUNDS = 7


class Row(NamedTuple):
    """One line of the report; `target` is empty where there is none."""

    what: str
    measured: str
    target: str = ""


def cpu_us(call: Callable[[], object], *, times: int) -> float:
    """CPU time of a call in microseconds: the best of several rounds, for the machine is shared."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(ROUNDS):
            start = time.process_time_ns()
            for _ in range(times):
                call()
            best = min(best, (time.process_time_ns() - start) / times / 1000)
    finally:
        gc.enable()
    return best


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that is not less than `percent` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def spread(values_ms: Sequence[float]) -> str:
    """Median and tail of times in milliseconds."""
    return f"p50 {statistics.median(values_ms):.0f} ms, p90 {percentile(values_ms, 90):.0f} ms"
