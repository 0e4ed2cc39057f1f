"""The inventory that is made of a cluster's objects, as Ansible reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.ansible.cluster import inventory

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy/ansible/cluster.py"


def node(name: str, address: str) -> dict[str, Any]:
    """A Node with an address."""
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]
    return {"kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}


def slice_of(service: str, address: str, namespace: str = "default") -> dict[str, Any]:
    """Where a Service leads to."""
    labels = {"kubernetes.io/service-name": service}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": service, "namespace": namespace, "labels": labels},
        "ports": [{"name": "https", "port": 7443}],
        "endpoints": [{"addresses": [address]}],
    }


API = slice_of("kubernetes", "10.0.0.1")
OTHERS = [slice_of("web", "10.42.1.2"), slice_of("kubernetes", "10.42.1.3", "mine")]


def test_nodes_and_a_master_that_is_none() -> None:
    assert inventory([node("b", "10.0.0.3"), node("a", "10.0.0.2"), API, *OTHERS]) == {
        "master": {"hosts": ["10.0.0.1"]},
        "nodes": {"hosts": ["a", "b"]},
        "all": {"vars": {"wherry_server": "https://10.0.0.1:7443"}},
        "_meta": {
            "hostvars": {
                "a": {"ansible_host": "10.0.0.2"},
                "b": {"ansible_host": "10.0.0.3"},
                "10.0.0.1": {"ansible_host": "10.0.0.1"},
            }
        },
    }


def test_a_master_that_is_a_node_is_one_machine() -> None:
    found = inventory([node("a", "10.0.0.1"), API])
    assert (found["master"], found["nodes"]) == ({"hosts": ["a"]}, {"hosts": ["a"]})
    assert list(found["_meta"]["hostvars"]) == ["a"]


def test_a_node_that_has_told_no_address_yet_goes_by_its_name() -> None:
    found = inventory([{"kind": "Node", "metadata": {"name": "a"}}, API])
    assert found["_meta"]["hostvars"]["a"] == {}


def run(directory: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script, where `wherry` is this program."""
    (directory / "wherry").write_text(f"#!/bin/sh\n{program}\n")
    (directory / "wherry").chmod(0o755)
    path = f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [SCRIPT, *arguments], env={"PATH": path}, capture_output=True, text=True, timeout=60
    )


def test_the_cluster_is_asked_once(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text(json.dumps({"items": [node("a", "10.0.0.2"), API]}))
    done = run(tmp_path, f'echo "$@" >> {tmp_path}/asked; cat {tmp_path}/objects', "--list")
    assert json.loads(done.stdout)["nodes"] == {"hosts": ["a"]}
    asked = (tmp_path / "asked").read_text()
    assert asked == "get nodes,endpointslices --all-namespaces --output json\n"


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("echo 'wherry: cannot reach it' >&2; exit 1", ["--list"], "wherry: cannot reach it"),
        ("true", [], "cluster.py is an inventory: ansible-playbook -i cluster.py ..."),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    program: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = run(tmp_path, program, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line
