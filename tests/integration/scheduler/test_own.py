"""docs/own-scheduler.md with a real master, its settings, its API and nodes without machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(240)]
EXAMPLES = ROOT / "deploy/examples/schedulers"
PODS, NODES = "/api/v1/namespaces/default/pods", "/api/v1/nodes"
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scheduler file that the master's settings name."""
    path = tmp_path_factory.mktemp("own") / "scheduler.py"
    path.write_text((EXAMPLES / "plugins.py").read_text())
    return path


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Iterator[RunningMaster]:
    """A master with a scheduler file and two nodes; nobody asks the nodes how they are."""
    made = RunningMaster(tmp_path_factory.mktemp("master"))
    made.settings = made.directory / "config.yaml"
    made.settings.write_text(
        yaml.safe_dump(
            {
                "scheduler-file": str(file),
                "scheduler-file-seconds": 30,
                "disable-controllers": ["nodelifecycle", "tainteviction", "podgc"],
            }
        )
    )
    try:
        made.start()
        for name, labels in (("n1", {}), ("n2", {"customer": "x"})):
            make_node(made, name, labels)
        yield made
    finally:
        made.stop()


def make_node(master: RunningMaster, name: str, labels: dict[str, str]) -> None:
    """A node that says that it is ready, as a kubelet would."""
    admin = master.admin()
    made = admin.json("POST", NODES, {"metadata": {"name": name, "labels": labels}})
    made["status"] = {
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    made = admin.json("PUT", f"{NODES}/{name}/status", made)
    made["spec"].pop("taints", None)
    admin.json("PUT", f"{NODES}/{name}", made)


def make_pod(master: RunningMaster, name: str, scheduler: str = "", **labels: str) -> None:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "x"}]}
    if scheduler:
        spec["schedulerName"] = scheduler
    body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    master.admin().json("POST", PODS, body)


def pod(master: RunningMaster, name: str) -> dict[str, Any]:
    return master.admin().json("GET", f"{PODS}/{name}")


def node_of(master: RunningMaster, name: str) -> str:
    return str(pod(master, name)["spec"].get("nodeName", ""))


def condition(master: RunningMaster, name: str) -> tuple[str, str]:
    found = pod(master, name)["status"].get("conditions", [])
    says = [(c.get("reason", ""), c.get("message", "")) for c in found]
    return says[0] if says else ("", "")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process has started, by their command's file."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in found if b"own/child.py" in Path(f"/proc/{n}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_file_of_the_settings(master: RunningMaster, file: Path) -> None:
    """Its pods go where it says, those of others as ever, and its mistakes are told."""
    make_pod(master, "x", "custom", customer="x")
    make_pod(master, "nobody", "custom")
    until(lambda: (node_of(master, "x"), node_of(master, "nobody")) == ("n2", "n1"))
    make_pod(master, "y", "custom", customer="y")
    text = "0/2 nodes are available: 2 node(s) belonged to another customer."
    until(lambda: condition(master, "y") == ("Unschedulable", text))
    file.write_text("def filter(pod, node):\n    return node.size\n")
    words = f"{file}, line 2, in filter: AttributeError: 'Node' object has no attribute 'size'"
    until(lambda: condition(master, "y") == ("SchedulerError", words))
    make_pod(master, "builtin")
    until(lambda: node_of(master, "builtin"))
    described = subprocess.run(
        ["kubectl", "describe", "pod", "y"],
        env=os.environ | {"KUBECONFIG": str(master.directory / "data/admin.kubeconfig")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "FailedScheduling" in described.stdout
    assert words in described.stdout
    file.write_text("def schedule(pod, nodes):\n    return 'n1'\n")
    until(lambda: node_of(master, "y") == "n1")


def test_a_process_of_its_own(master: RunningMaster, tmp_path: Path) -> None:
    """It binds the pods with its schedulerName and no others."""
    make_pod(master, "early", "mine")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(master.kubeconfig.ca_pem)
    token = master.directory / "data/admin.token"
    command = [sys.executable, str(EXAMPLES / "own_process.py"), master.url, str(token), str(ca)]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        for number in range(4):
            make_pod(master, f"mine{number}", "mine")
            make_pod(master, f"default{number}")
            make_pod(master, f"third{number}", "third")
        mine = ["early", *(f"mine{number}" for number in range(4))]
        until(lambda: all(node_of(master, name) for name in mine))
        until(lambda: all(node_of(master, f"default{number}") for number in range(4)))
        assert {node_of(master, name) for name in mine} == {"n1", "n2"}
        assert not any(node_of(master, f"third{number}") for number in range(4))
        events = master.admin().json("GET", "/api/v1/namespaces/default/events")["items"]
        told = {e["involvedObject"]["name"] for e in events if e["reason"] == "Scheduled"}
        assert not told & set(mine), "the built-in scheduler has placed a pod of another"
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait()


def test_the_file_ends_with_the_master(master: RunningMaster, file: Path, tmp_path: Path) -> None:
    """kill -9 of the master leaves no child, not even one in an endless loop."""
    here = tmp_path / "here"
    loop = f"open({str(here)!r}, 'w').close()\n    while True:\n        pass\n"
    file.write_text(f"def filter(pod, node):\n    {loop}")
    make_pod(master, "loop", "custom")
    until(here.exists)
    assert master.process is not None
    (child,) = children(master.process.pid)
    master.process.kill()
    master.process.wait()
    until(lambda: not is_running(child))
