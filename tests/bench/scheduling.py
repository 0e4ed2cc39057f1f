"""The scheduler's cycle: one pod of a ReplicaSet onto the best of many nodes, and reserved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tests.bench.measure import Row, cpu_us
from tests.unit.scheduler.world import cycle, node_item, pod

SIZES = ((100, ""), (1_000, ""), (5_000, "250 us"))


def rows() -> Iterator[Row]:
    """The part of the report."""
    first = 0.0
    for nodes, target in SIZES:
        zones = ("a", "b", "c")
        items = [
            node_item(f"n{n}", labels={"topology.kubernetes.io/zone": zones[n % 3]})
            for n in range(nodes)
        ]
        made = cycle(*items)
        numbers = count()

        def place(made=made, numbers=numbers) -> None:  # type: ignore[no-untyped-def]
            wanted = pod(f"p{next(numbers)}", owner="rs", labels={"app": "x"}, cpu="1m")
            decision = made.schedule(wanted)
            assert decision.node
            made.assume(wanted, decision.node)

        made_us = cpu_us(place, times=200)
        first = first or made_us
        ratio = f", {made_us / first:.1f} times the first" if made_us != first else ""
        yield Row(f"cycle with {nodes} nodes, spreading", f"{made_us:.0f} us{ratio}", target)
