"""kill -9 of every process in turn, while pods come and go: rows C1, C5; invariants I1, I9."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.cluster import Cluster, deployment, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
NODES = ("node1", "node2", "node3")


def running_containers(cluster: Cluster, app: str) -> dict[str, str]:
    """Container ID -> start time of an app's pods, from the API."""
    found = {}
    for item in cluster.get("pods", "-l", f"app={app}")["items"]:
        for status in item["status"].get("containerStatuses", []):
            if "running" in status["state"]:
                found[status["containerID"]] = status["state"]["running"]["startedAt"]
    return found


def started_at(cluster: Cluster, node: str) -> str:
    """IDs and start times of all our containers, from Podman itself."""
    listed = cluster.shell(
        node,
        "podman",
        "ps",
        "--filter",
        "label=io.wherry.pod.uid",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.StartedAt}}",
    )
    return "\n".join(sorted(listed.splitlines()))


def kill(cluster: Cluster, machine: str, pattern: str) -> None:
    """kill -9 of the process with that name on a machine."""
    cluster.shell(machine, "pkill", "-9", "-f", pattern)


@pytest.mark.parametrize(
    ("machine", "pattern"),
    [
        ("node1", "^wherry-kubelet"),
        ("node2", "podman system service"),
        ("master", "^wherry-master"),
        ("master", "^etcd "),
    ],
    ids=["kubelet", "podman", "master", "etcd"],
)
def test_kill(clean: Cluster, machine: str, pattern: str) -> None:
    """Nothing restarts, no acknowledged write is lost, and a new pod starts afterwards."""
    clean.apply(deployment("steady", 3))
    clean.kubectl("rollout", "status", "deploy/steady", "--timeout=90s")
    before = {node: started_at(clean, node) for node in NODES}
    api_before = running_containers(clean, "steady")
    assert len(api_before) == 3
    written = write_until_killed(clean, machine, pattern)
    until(
        lambda: "ok" in clean.kubectl("get", "--raw", "/readyz", check=False),
        what="the API after a kill",
    )
    clean.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
    stored = {c["metadata"]["name"] for c in clean.get("configmaps")["items"]}
    assert written <= stored
    clean.apply(pod("after", ["sleep", "1000"], nodeName=machine if machine != "master" else None))
    clean.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=90s")
    clean.kubectl("delete", "pod", "after", "--grace-period=0", "--force")
    assert running_containers(clean, "steady") == api_before
    for node in NODES:
        until(
            lambda node=node: started_at(clean, node) == before[node],
            what=f"containers of {node} as before",
        )


def write_until_killed(cluster: Cluster, machine: str, pattern: str) -> set[str]:
    """Create ConfigMaps while the process is killed; the names that were acknowledged."""
    written = set()
    for number in range(12):
        if number == 4:
            kill(cluster, machine, pattern)
        name = f"write-{number}"
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        done = cluster.run_kubectl(["create", "-f", "-"], text=json.dumps(document))
        if done.returncode == 0:
            written.add(name)
    return written


def ready_message(cluster: Cluster, node: str) -> tuple[str, str]:
    """Status and message of a node's Ready condition."""
    for condition in cluster.get("node", node)["status"]["conditions"]:
        if condition["type"] == "Ready":
            return condition["status"], condition["message"]
    return "", ""


def service(cluster: Cluster, node: str, verb: str, name: str) -> None:
    """Tell the machine's supervisor to stop (`-x` for at once) or start a service."""
    cluster.shell(node, "sv", verb, f"/run/service/{name}")


@pytest.mark.parametrize(
    "away_seconds",
    [15, pytest.param(600, marks=[pytest.mark.full, pytest.mark.timeout(1200)])],
)
def test_podman_service_away(clean: Cluster, away_seconds: int) -> None:
    """Row C5: pods run on without Podman's service, the node says so, and it recovers."""
    steady = deployment("steady", 3)
    # A node that is not ready for five minutes loses its pods, unless they put up with it.
    steady["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    clean.apply(steady)
    clean.kubectl("rollout", "status", "deploy/steady", "--timeout=90s")
    before = started_at(clean, "node2")
    assert before
    service(clean, "node2", "force-stop", "podman")
    until(
        lambda: ready_message(clean, "node2")[0] == "False",
        what="node2 not Ready",
        timeout_seconds=90,
    )
    assert "container runtime is down" in ready_message(clean, "node2")[1]
    time.sleep(away_seconds)
    assert started_at(clean, "node2") == before
    service(clean, "node2", "start", "podman")
    until(lambda: ready_message(clean, "node2")[0] == "True", what="node2 Ready again")
    clean.apply(pod("after", ["sleep", "1000"], nodeName="node2"))
    clean.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=90s")
    assert set(before.splitlines()) <= set(started_at(clean, "node2").splitlines())


@pytest.mark.parametrize("away_seconds", [5, pytest.param(60, marks=pytest.mark.full)])
def test_agent_away(clean: Cluster, away_seconds: int) -> None:
    """Row C1: no kubelet for a while, and then the same containers and a new pod."""
    clean.apply(deployment("steady", 3))
    clean.kubectl("rollout", "status", "deploy/steady", "--timeout=90s")
    before = started_at(clean, "node1")
    assert before
    service(clean, "node1", "force-stop", "wherry-kubelet")
    time.sleep(away_seconds)
    assert started_at(clean, "node1") == before
    service(clean, "node1", "start", "wherry-kubelet")
    clean.apply(pod("after", ["sleep", "1000"], nodeName="node1"))
    clean.kubectl("wait", "--for=condition=Ready", "pod/after", "--timeout=90s")
    assert set(before.splitlines()) <= set(started_at(clean, "node1").splitlines())


def test_power_failure(clean: Cluster) -> None:
    """A node that was switched off and on runs its pods again, as new attempts of the same pods."""
    clean.apply(pod("on1", ["sleep", "1000"], nodeName="node3"))
    clean.kubectl("wait", "--for=condition=Ready", "pod/on1", "--timeout=60s")
    before = clean.get("pod", "on1")
    clean.local("stop", "node3")
    clean.local("start", "node3")

    def again() -> bool:
        status = clean.get("pod", "on1")["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and "running" in status["state"]

    until(again, what="the second attempt after a power failure")
    assert clean.get("pod", "on1")["metadata"]["uid"] == before["metadata"]["uid"]
