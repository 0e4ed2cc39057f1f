"""Prints the performance report. `--no-cluster` leaves the parts out that need root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable

from tests.bench import cluster, codec, nodes, path, pods, scheduling, streams, watching
from tests.bench.measure import Row
from tests.bench.services import activation, proxy, rules
from tests.e2e.cluster import missing_tools


def main() -> None:
    """Run every part and print its rows as they come."""
    parts: list[Callable[[], Iterable[Row]]] = [codec.rows, scheduling.rows]
    if shutil.which("etcd") is None:
        print("left out: calls, watchers, nodes and many pods (there is no etcd)")
    else:
        parts += [path.rows, watching.rows, nodes.rows, pods.rows]
    problem = "root is needed" if os.geteuid() else ", ".join(missing_tools())
    if not problem and subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        problem = "network namespaces cannot be made"
    if "--no-cluster" not in sys.argv and not problem:
        parts += [rules.rows, proxy.rows, activation.rows, streams.rows, cluster.rows]
    print(f"{'what':<58} {'measured':<48} target")
    for part in parts:
        for row in part():
            print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
    if problem:
        print(f"left out: kube-proxy, pods and idle processes ({problem})")


if __name__ == "__main__":
    main()
