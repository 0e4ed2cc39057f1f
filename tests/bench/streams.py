"""Commands in containers and bytes through them, beside Podman's own client on the same machine.

`python -m tests.bench.streams` makes a cluster of one node and measures both in turns.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.bench.measure import Row, spread
from tests.e2e.cluster import Cluster, kubectls, pod

MEGABYTES = 300
TIMED = 's=$(date +%s%N); eval "$1"; e=$(date +%s%N); echo $(( (e - s) / 1000 ))'
"""Microseconds that a line of shell takes on the node."""


class Work(NamedTuple):
    """A line of shell, `EXEC` in which is the client's way into the container."""

    what: str
    line: str
    rounds: int
    megabytes: int = 0

    def shown(self, milliseconds: list[float]) -> str:
        """Of rounds: how long they took, or the best rate."""
        if not self.megabytes:
            return spread(milliseconds)
        return f"{self.megabytes / min(milliseconds) * 1000:.0f} MB/s"


ZEROS = f"head -c {MEGABYTES}M /dev/zero"
WORKS = (
    Work("exec, from start to end", "EXEC echo x > /dev/null", 15),
    Work(f"{MEGABYTES} MB out of a container", f"EXEC {ZEROS} > /dev/null", 3, MEGABYTES),
    Work(f"{MEGABYTES} MB into a container", f"{ZEROS} | EXEC wc -c > /dev/null", 3, MEGABYTES),
)


def rows() -> Iterator[Row]:
    """The part of the report; starts and ends a cluster of one node."""
    with TemporaryDirectory() as directory:
        cluster = Cluster("bench", "10.89.33", Path(directory))
        try:
            cluster.local("up", "--nodes", "1", timeout_seconds=900)
            cluster.use()
            cluster.kubectl_path = kubectls()[0]
            cluster.apply(pod("web", ["sleep", "100000"]))
            cluster.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
            listed = ("podman", "ps", "-q", "--filter", "label=io.wherry.pod.name=web")
            container = cluster.shell("node1", *listed).split()[0]
            for work in WORKS:
                yield from _measured(cluster, container, work)
        finally:
            cluster.local("down")


def _measured(cluster: Cluster, container: str, work: Work) -> Iterator[Row]:
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(work.rounds):
        ours.append(_here(cluster, work.line.replace("EXEC", "$KUBECTL exec -i web --")))
        line = work.line.replace("EXEC", f"podman exec -i {container}")
        printed = cluster.shell("node1", "bash", "-c", TIMED, "bash", line)
        bare.append(int(printed.split()[-1]) / 1000)
    yield Row(f"{work.what}: kubectl exec", work.shown(ours))
    yield Row(f"{work.what}: podman exec", work.shown(bare))


def _here(cluster: Cluster, line: str) -> float:
    """Milliseconds that a line of shell takes on this machine."""
    environment = {**cluster.env, "KUBECTL": cluster.kubectl_path}
    start = time.perf_counter()
    subprocess.run(["bash", "-c", line], env=environment, check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:<50} {row.measured}  (load {os.getloadavg()[0]:.1f})", flush=True)
