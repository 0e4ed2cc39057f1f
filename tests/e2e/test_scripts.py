"""The examples that need machines: logs of real containers, usage of real nodes, real rollouts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import ROOT, Cluster, deployment, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
EXAMPLES = ROOT / "deploy/examples/grpc"


def environment(cluster: Cluster) -> dict[str, str]:
    """A user's: the cluster's kubeconfig, and Wherry installed."""
    return {**cluster.env, "PYTHONPATH": str(ROOT)}


def wherry(cluster: Cluster, *arguments: str) -> str:
    """Run the `wherry` command; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from common.cli.main import main; main()", *arguments],
        cwd=ROOT,
        env=environment(cluster),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(cluster: Cluster, output: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start an example; what it prints goes to a file."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env=environment(cluster),
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_logs(clean: Cluster, tmp_path: Path) -> None:
    """`wherry logs` prints a log, follows it, and the example follows several side by side."""
    shell = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"
    clean.apply(pod("talks", ["sh", "-c", shell]), pod("said", ["echo", "hello"]))
    until(lambda: "talks" in clean.kubectl("get", "pods", "--field-selector=status.phase=Running"))
    until(lambda: "line 2" in wherry(clean, "logs", "talks"))
    assert len(wherry(clean, "logs", "talks", "--tail", "1").splitlines()) == 1
    until(lambda: "hello\n" in clean.kubectl("logs", "said", check=False))
    assert wherry(clean, "logs", "said", "-c", "c") == "hello\n"
    output = tmp_path / "logs"
    process = start(clean, output, "stream_logs.py", "test=e2e")
    try:
        until(lambda: "said/c: hello\n" in output.read_text())
        seen = output.read_text().count("talks/c: line")
        until(lambda: output.read_text().count("talks/c: line") > seen + 10)
    finally:
        process.kill()
        process.wait()


def test_node_usage(clean: Cluster, tmp_path: Path) -> None:
    """Every node reports again and again."""
    nodes = clean.kubectl("get", "nodes", "-o", "name").replace("node/", "").split()
    output = tmp_path / "usage"
    process = start(clean, output, "node_usage.py")
    try:
        for node in nodes:
            until(
                lambda node=node: (  # type: ignore[misc]
                    sum(line.startswith(f"{node} ") for line in output.read_text().splitlines()) > 1
                ),
                what=f"two reports of {node}",
            )
    finally:
        process.kill()
        process.wait()
    assert " cores" in output.read_text()


def test_rollout(clean: Cluster, tmp_path: Path) -> None:
    """`wherry apply --wait` returns when the pods are there; a new image rolls through."""
    file = tmp_path / "web.yaml"

    file.write_text(json.dumps(deployment("web", 2)))
    said = wherry(clean, "apply", "-f", str(file), "--wait")
    assert said.splitlines()[0] == "deployment.apps/web created"
    assert said.splitlines()[-1] == 'deployment "web" successfully rolled out'
    assert wherry(clean, "get", "deploy", "web").splitlines()[1].split()[:2] == ["web", "2/2"]
    old = set(clean.kubectl("get", "pods", "-l", "app=web", "-o", "name").split())
    spec = clean.get("deployment", "web")["spec"]["template"]["spec"]
    image = spec["containers"][0]["image"]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "roll_deployment.py"), "web", f"{image}:latest"],
        env=environment(clean),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Waiting for deployment" in done.stdout
    new = clean.get("pods", "-l", "app=web")["items"]
    fresh = [p for p in new if f"pod/{p['metadata']['name']}" not in old]
    assert len(fresh) == 2
    assert {p["spec"]["containers"][0]["image"] for p in fresh} == {f"{image}:latest"}
