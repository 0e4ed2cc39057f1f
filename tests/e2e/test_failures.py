"""Traffic through everything that changes, and machines that fail: rows C11, C12, D1, D2."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, pod, until
from tests.e2e.test_services import known, serve, service, web

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
WORKERS = 5
# Five loops that call twenty times a second each, until they are told to end.
TRAFFIC = """
trap 'touch /tmp/stop' TERM
for worker in 1 2 3 4 5; do (
    count=0
    until [ -e /tmp/stop ]; do
        wget -qO- "http://$WEB_SERVICE_HOST/" >/dev/null 2>/tmp/error.$worker ||
            echo "failed at $(date +%T): $(cat /tmp/error.$worker)"
        count=$((count + 1))
        usleep 40000
    done
    echo "calls $count"
) & done
echo started
until [ -e /tmp/stop ]; do sleep 1; done
wait
"""


class Traffic:
    """A pod that calls the service `web` a hundred times a second."""

    def __init__(self, cluster: Cluster, file: Path) -> None:
        self._cluster = cluster
        self._file = file
        cluster.apply(pod("traffic", ["sh", "-c", TRAFFIC], terminationGracePeriodSeconds=20))
        cluster.kubectl("wait", "--for=condition=Ready", "pod/traffic", "--timeout=60s")

    def end(self) -> tuple[int, list[str]]:
        """How many calls there were, and what failed."""
        logs = self._cluster.popen("logs", "-f", "traffic", output=self._file)
        until(lambda: "started" in self._file.read_text(), what="the log")
        self._cluster.kubectl("delete", "pod", "traffic", "--wait=false")
        assert logs.wait(60) == 0
        lines = self._file.read_text().splitlines()
        counts = [int(line.split()[1]) for line in lines if line.startswith("calls ")]
        assert len(counts) == WORKERS, lines[-20:]
        return sum(counts), [line for line in lines if line.startswith("failed")]


def rolled_out(cluster: Cluster) -> None:
    """Wait until the Deployment is as it should be, and every proxy knows."""
    cluster.kubectl("rollout", "status", "deploy/web", "--timeout=120s", timeout_seconds=150)
    known(cluster, "web", 3)


def test_no_call_is_lost_while_pods_are_rolled_and_deleted_and_all_of_ours_is_killed(
    clean: Cluster, tmp_path: Path
) -> None:
    serve(clean, "web", 3)
    traffic = Traffic(clean, tmp_path / "log")
    begin = time.monotonic()
    clean.kubectl("rollout", "restart", "deploy/web")
    rolled_out(clean)
    for name in running_on(clean, "web"):
        clean.kubectl("delete", "pod", name)
        rolled_out(clean)
    for machine, pattern in (
        ("master", "^wherry-master"),
        ("master", "^etcd "),
        ("node1", "^wherry-kube-proxy"),
        ("node2", "^wherry-kube-proxy"),
        ("node3", "^wherry-kube-proxy"),
    ):
        clean.shell(machine, "pkill", "-9", "-f", pattern)
        until(lambda: "ok" in clean.kubectl("get", "--raw", "/readyz", check=False), what="API")
        rolled_out(clean)
    seconds = time.monotonic() - begin
    count, failures = traffic.end()
    assert failures == [], f"{len(failures)} of {count} calls failed"
    assert count > 20 * seconds, f"{count} calls in {seconds:.0f} s"


def node_ready(cluster: Cluster, node: str) -> str:
    """The status of a node's condition Ready."""
    found = cluster.get("node", node)["status"]["conditions"]
    return next(str(c["status"]) for c in found if c["type"] == "Ready")


def running_on(cluster: Cluster, app: str) -> dict[str, str]:
    """The pods of an app that are not on their way out, and their nodes."""
    return {
        item["metadata"]["name"]: item["spec"]["nodeName"]
        for item in cluster.get("pods", "-l", f"app={app}")["items"]
        if "deletionTimestamp" not in item["metadata"]
        and any(s["ready"] for s in item["status"].get("containerStatuses", []))
    }


def tolerant(seconds: int) -> list[dict[str, object]]:
    """Tolerations of a lost node for some seconds."""
    return [
        {
            "key": f"node.kubernetes.io/{key}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": seconds,
        }
        for key in ("not-ready", "unreachable")
    ]


def test_a_machine_that_is_lost_is_replaced_and_used_again_when_it_is_back(
    clean: Cluster,
) -> None:
    address = serve(clean, "web", 3)
    made = web("web", 3)
    made["spec"]["template"]["spec"]["tolerations"] = tolerant(3)
    clean.apply(made)
    rolled_out(clean)
    before = running_on(clean, "web")
    lost = [name for name, node in before.items() if node == "node2"]
    assert lost
    clean.local("stop", "node2")
    begin = time.monotonic()
    until(lambda: node_ready(clean, "node2") == "Unknown", what="NotReady", timeout_seconds=25)
    assert time.monotonic() - begin <= 20
    until(
        lambda: (
            len(now := running_on(clean, "web")) == 3
            and "node2" not in now.values()
            and not set(lost) & set(now)
        ),
        what="three pods on the other nodes",
        timeout_seconds=60,
    )
    answer = clean.shell("node1", "sh", "-c", f"busybox wget -qO- http://{address}/")
    assert answer.startswith("hello from")
    phases = clean.get("pod", lost[0])["metadata"]
    assert "deletionTimestamp" in phases, "it is Terminating until its node tells"
    clean.local("start", "node2")
    until(lambda: node_ready(clean, "node2") == "True", what="node2 Ready")
    until(
        lambda: "NotFound" in clean.kubectl("get", "pod", lost[0], check=False),
        what="the old pod is gone",
    )
    listed = clean.shell("node2", "podman", "ps", "-a", "--format", "{{.Names}}")
    assert not any(name in listed for name in lost)
    clean.kubectl("scale", "deploy/web", "--replicas=6")
    until(lambda: "node2" in running_on(clean, "web").values(), what="node2 is used again")


def containers(cluster: Cluster, node: str) -> str:
    """IDs and start times of our containers on a node."""
    ours = ("--filter", "label=io.wherry.pod.uid")
    shown = ("--no-trunc", "--format", "{{.ID}} {{.StartedAt}}")
    return "\n".join(sorted(cluster.shell(node, "podman", "ps", *ours, *shown).splitlines()))


@pytest.mark.parametrize("seconds", [8, pytest.param(600, marks=pytest.mark.full)])
def test_without_a_master_pods_run_and_restart_and_services_answer(
    clean: Cluster, seconds: int
) -> None:
    """The master is off for a while (row D2: ten minutes under `full`)."""
    address = serve(clean, "web", 3)
    clean.apply(pod("restarts", ["sh", "-c", "sleep 2; exit 1"], nodeName="node1"))
    clean.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/restarts")
    before = {node: containers(clean, node) for node in ("node2", "node3")}
    count = clean.get("pod", "restarts")["status"]["containerStatuses"][0]["restartCount"]
    clean.local("stop", "master")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for node in before:
            answer = clean.shell(node, "sh", "-c", f"busybox wget -qO- http://{address}/")
            assert answer.startswith("hello from")
    clean.local("start", "master")
    until(lambda: "ok" in clean.kubectl("get", "--raw", "/readyz", check=False), what="the API")
    clean.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def restarted() -> bool:
        status = clean.get("pod", "restarts")["status"]["containerStatuses"][0]
        return int(status["restartCount"]) > count

    until(restarted, what="the pod was restarted by its policy meanwhile")
    assert {node: containers(clean, node) for node in before} == before


def test_a_node_that_is_cut_off_is_noticed_and_heals(clean: Cluster) -> None:
    """Packets are dropped without a word (row C12), then they pass again: nothing restarts."""
    serve(clean, "web", 3)
    before = containers(clean, "node3")
    drop = "table ip cut { chain i { type filter hook input priority -300; ip saddr %s drop; }; }"
    begin = time.monotonic()
    clean.shell("node3", "nft", drop % f"{clean.lan}.10")
    until(lambda: node_ready(clean, "node3") == "Unknown", what="NotReady", timeout_seconds=40)
    assert time.monotonic() - begin <= 30
    assert containers(clean, "node3") == before
    clean.shell("node3", "nft", "delete", "table", "ip", "cut")
    until(lambda: node_ready(clean, "node3") == "True", what="Ready", timeout_seconds=60)
    known(clean, "web", 3)
    assert containers(clean, "node3") == before


@pytest.mark.parametrize("seconds", [5, pytest.param(600, marks=pytest.mark.full)])
def test_after_a_partition_with_replacement_exactly_one_copy_is_left(
    clean: Cluster, seconds: int
) -> None:
    """Row C11: the node that is cut off runs on; healed, it stops what is no longer its own."""
    made = web("web", 3)
    made["spec"]["template"]["spec"]["tolerations"] = tolerant(1)
    clean.apply(service("web"), made)
    rolled_out(clean)
    lost = [name for name, node in running_on(clean, "web").items() if node == "node2"]
    before = containers(clean, "node2")
    drop = "table ip cut { chain i { type filter hook input priority -300; ip saddr %s drop; }; }"
    clean.shell("node2", "nft", drop % f"{clean.lan}.10")
    until(
        lambda: len(now := running_on(clean, "web")) == 3 and not set(lost) & set(now),
        what="replaced on the other nodes",
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert containers(clean, "node2") == before, "what is cut off runs on"
    clean.shell("node2", "nft", "delete", "table", "ip", "cut")

    def healed() -> bool:
        named = clean.shell("node2", "podman", "ps", "-a", "--format", "{{.Names}}")
        return not any(name in named for name in lost)

    until(healed, what="the old copies are stopped")
    until(lambda: len(clean.get("pods", "-l", "app=web")["items"]) == 3, what="three pods, no more")
