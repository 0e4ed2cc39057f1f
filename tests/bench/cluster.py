"""A pod from create to Running beside bare Podman doing the same, and what 30 idle pods cost."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from common.client.https import KubeConfig
from tests.bench.measure import Row, spread
from tests.e2e.cluster import IMAGE, Cluster, deployment, kubectls, pod, until

PODS = 12
IDLE_PODS = 30
IDLE_SECONDS = 20.0
LIMITS = {"wherry-master": "150 MiB, 1 %", "wherry-kubelet": "70 MiB, 1 %"}


def rows() -> Iterator[Row]:
    """The part of the report; starts and ends a cluster of one node."""
    with TemporaryDirectory() as directory:
        cluster = Cluster("bench", "10.89.33", Path(directory))
        try:
            cluster.local("up", "--nodes", "1", timeout_seconds=900)
            cluster.use()
            cluster.kubectl_path = kubectls()[0]
            cluster.kubectl("delete", "deploy", "--all")
            until(lambda: not cluster.get("pods")["items"], what="an empty cluster")
            for at_once in (1, 4):
                yield from _start_rows(cluster, at_once)
            yield from _idle_rows(cluster)
        finally:
            cluster.local("down")


def _start_rows(cluster: Cluster, at_once: int) -> Iterator[Row]:
    """Create to Running, by the timestamps that a watch sees; and podman run."""
    ours = _through_api(cluster, at_once)
    bare = _bare(cluster, at_once)
    above = statistics.median(ours) - statistics.median(bare)
    yield Row(f"pod, create to Running, {at_once} at a time", spread(ours))
    yield Row(f"  podman run --network=none, {at_once} at a time", spread(bare))
    yield Row("  above it, p50", f"{above:.0f} ms", "25 ms")


def _through_api(cluster: Cluster, at_once: int) -> list[float]:
    """Milliseconds from a POST to the first event that says Running."""
    watch = subprocess.Popen(
        [cluster.kubectl_path, "get", "--raw", "/api/v1/namespaces/default/pods?watch=1"],
        env=cluster.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    running: dict[str, float] = {}

    def follow() -> None:
        assert watch.stdout is not None
        for line in watch.stdout:
            found = json.loads(line)["object"]
            if found["status"].get("phase") == "Running":
                running.setdefault(found["metadata"]["name"], time.monotonic())

    client = KubeConfig(Path(cluster.env["KUBECONFIG"])).client()

    def one(number: int) -> float:
        name = f"bench-{at_once}-{number}"
        start = time.monotonic()
        client.json("POST", "/api/v1/namespaces/default/pods", pod(name, ["sleep", "100000"]))
        until(lambda: name in running, what=name)
        return (running[name] - start) * 1000

    with ThreadPoolExecutor(at_once + 1) as pool:
        pool.submit(follow)
        measured = list(pool.map(one, range(PODS)))
        watch.terminate()
    cluster.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    until(lambda: not cluster.get("pods")["items"], what="no pods")
    return measured


def _bare(cluster: Cluster, at_once: int) -> list[float]:
    """Milliseconds of `podman run -d` on the same machine, the client's start included."""
    script = (
        f"i=$1; s=$(date +%s%N); podman run -d --network=none --name bare-$i {IMAGE} sleep 100000 "
        ">/dev/null; e=$(date +%s%N); echo $(( (e - s) / 1000 ))"
    )

    def one(number: int) -> float:
        printed = cluster.shell("node1", "bash", "-c", script, "bash", f"{at_once}-{number}")
        return int(printed.split()[-1]) / 1000

    with ThreadPoolExecutor(at_once) as pool:
        measured = list(pool.map(one, range(PODS)))
    names = [f"bare-{at_once}-{number}" for number in range(PODS)]
    cluster.shell("node1", "podman", "rm", "-f", "-t", "0", *names)
    return measured


def _idle_rows(cluster: Cluster) -> Iterator[Row]:
    """Memory and CPU of every process while 30 pods do nothing."""
    cluster.apply(deployment("idle", IDLE_PODS))
    cluster.kubectl("rollout", "status", "deploy/idle", "--timeout=180s", timeout_seconds=200)
    time.sleep(5)
    for machine, name in (
        ("master", "wherry-master"),
        ("master", "etcd"),
        ("node1", "wherry-kubelet"),
        ("node1", "podman"),
    ):
        before = figures(cluster, machine, name)
        time.sleep(IDLE_SECONDS)
        after = figures(cluster, machine, name)
        percent = (after[0] - before[0]) / IDLE_SECONDS
        yield Row(
            f"{name}, idle with {IDLE_PODS} pods",
            f"{after[1]:.0f} MiB RSS, {after[2]:.0f} MiB PSS, {percent:.1f} % of a core",
            LIMITS.get(name, ""),
        )


def figures(cluster: Cluster, machine: str, name: str) -> tuple[float, float, float]:
    """(CPU in hundredths of a second, RSS in MiB, PSS in MiB) of the process of that name."""
    script = (
        f"p=$(pgrep -o -f '^{name}( |$)'); cut -d' ' -f14,15 /proc/$p/stat; "
        "grep -E '^(Rss|Pss):' /proc/$p/smaps_rollup"
    )
    lines = cluster.shell(machine, "bash", "-c", script).splitlines()
    user, system = lines[0].split()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines[1:]}
    return float(user) + float(system), sizes["Rss"], sizes["Pss"]
