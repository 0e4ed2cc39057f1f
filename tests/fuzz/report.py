"""What is looked at while a running master is sent things, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.bench.processes import pid_of, rss_mib
from tests.bench.stalls import stalls
from tests.fuzz.connection import Connection
from tests.servers.master import RunningMaster

LIVEZ_SECONDS = 0.02


@dataclass
class Report:
    """What came of a run. `statuses` has numbers of REST and names of gRPC's codes."""

    requests: int = 0
    statuses: Counter[int | str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    livez_worst_seconds: float = 0.0
    stall_worst: tuple[int, str] = (0, "")
    memory_mib: tuple[float, float] = (0.0, 0.0)
    """Before and after."""

    def summary(self) -> dict[str, Any]:
        """For people."""
        before, after = self.memory_mib
        return {
            "requests": self.requests,
            "statuses": dict(sorted(self.statuses.items(), key=lambda item: str(item[0]))),
            "longest wait for /livez": f"{self.livez_worst_seconds * 1e3:.0f} ms",
            "longest turn of the loop": f"{self.stall_worst[0]} ms of CPU {self.stall_worst[1]}",
            "memory": f"{before:.0f} MiB before, {after:.0f} MiB after",
            "faults": len(self.faults),
        }


@contextlib.asynccontextmanager
async def watched(master: RunningMaster, report: Report) -> AsyncIterator[None]:
    """During the block /livez is asked all the while; then the log is read, and memory compared."""
    seen, before = master.log.stat().st_size, rss_mib(pid_of(master))
    watching = asyncio.create_task(_watch_livez(master, report))
    try:
        yield
    finally:
        watching.cancel()
        [ended] = await asyncio.gather(watching, return_exceptions=True)
    if not isinstance(ended, asyncio.CancelledError):
        report.faults.append(f"/livez was not answered: {ended!r}")
    for line in master.log.read_bytes()[seen:].decode("utf-8", "replace").splitlines():
        if "Traceback" in line:
            report.faults.append(f"a traceback: {line[-1500:]}")
    report.stall_worst = max(stalls(master, seen), default=(0, ""))
    if master.process is None or master.process.poll() is not None:
        report.faults.append("the master has ended")
    else:
        report.memory_mib = before, rss_mib(pid_of(master))


async def _watch_livez(master: RunningMaster, report: Report) -> None:
    connection = Connection(master)
    try:
        # A connection of somebody who has not said who they are is closed after some seconds.
        await connection.send("GET", "/api", {}, b"")
        while True:
            start = time.monotonic()
            _, alive = await connection.send("GET", "/livez", {}, b"")
            took = time.monotonic() - start
            report.livez_worst_seconds = max(report.livez_worst_seconds, took)
            if not alive:
                connection.close()
            await asyncio.sleep(LIVEZ_SECONDS)
    finally:
        connection.close()
