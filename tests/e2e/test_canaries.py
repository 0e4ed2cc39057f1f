"""G19: what a node knows of Secrets is in memory, in tmpfs, and where a pod wants it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.systemd.levels import SIGNALS
from tests.e2e.cluster import Cluster, pod, until
from tests.fakes.hostile.canaries import Canaries, files_below, open_to_others

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
FILE, ENV, PULL = b"canary-of-a-volume", b"canary-of-a-variable", b"canary-of-a-registry"
OURS = ("wherry-master", "wherry-kubelet", "wherry-kube-proxy")
OBJECTS = "pods,events,nodes,services,endpointslices,configmaps,deployments,leases,csr"
OF_PODMAN = "/var/lib/containers/storage/"
KEY_FILES = ("admin.token", "admin.kubeconfig", "node.pem", "join.token", ".key")


def state_of(cluster: Cluster) -> Path:
    """Where the machines' disks are."""
    return Path(cluster.env["WHERRY_LOCAL_STATE"])


def processes_of(cluster: Cluster) -> Iterator[tuple[int, str]]:
    """Every process on the machines, with the name by which it calls itself."""
    mark = f"/wherry-local/{cluster.env['WHERRY_LOCAL_NAME']}/"
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (directory / "cgroup").read_text():
                title = (directory / "cmdline").read_bytes().partition(b"\0")[0].decode()
                yield int(directory.name), title
        except (FileNotFoundError, ProcessLookupError):
            continue


def log_at(cluster: Cluster, level: str) -> None:
    """Tell every program of ours how much to log."""
    told = [title for pid, title in processes_of(cluster) if title in OURS]
    assert len(told) >= 7, told
    for pid, title in processes_of(cluster):
        if title in OURS:
            os.kill(pid, SIGNALS[level])


def secret(name: str, value: bytes) -> dict[str, Any]:
    data = {"k": base64.b64encode(value).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def registry_secret() -> dict[str, Any]:
    """The password of a registry that nobody reaches."""
    login = {"auths": {"127.0.0.1:1": {"username": "u", "password": PULL.decode()}}}
    made = secret("pull", b"")
    made["type"] = "kubernetes.io/dockerconfigjson"
    made["data"] = {".dockerconfigjson": base64.b64encode(json.dumps(login).encode()).decode()}
    return made


def pods() -> list[dict[str, Any]]:
    """One with a volume, one with a variable, one whose image is to be pulled with a password."""
    volume = {"name": "v", "secret": {"secretName": "file"}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    env = [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]
    image = {"image": "127.0.0.1:1/no/such:1", "imagePullPolicy": "Always"}
    said = ["sh", "-c", "test -s /v/k && sleep 1000"]
    return [
        pod("file", said, container=mount, volumes=[volume]),
        pod("env", ["sh", "-c", 'test -n "$K" && sleep 1000'], container={"env": env}),
        pod("pull", ["true"], container=image, imagePullSecrets=[{"name": "pull"}]),
    ]


def show(cluster: Cluster) -> None:
    """Let the pods come so far, one changed Secret reach its volume, and logs be read."""
    cluster.apply(secret("file", FILE), secret("env", ENV), registry_secret(), *pods())
    for name in ("file", "env"):
        cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    said = lambda: cluster.kubectl("describe", "pod", "pull")  # noqa: E731
    until(
        lambda: "ErrImagePull" in said() or "ImagePullBackOff" in said(), what="a pull that fails"
    )
    cluster.apply(secret("file", FILE + b" changed"))
    cluster.kubectl("logs", "env")


def test_no_secret_lies_about(clean: Cluster) -> None:
    log_at(clean, "debug")
    try:
        show(clean)
        look(clean)
    finally:
        log_at(clean, "info")


def look(cluster: Cluster) -> None:
    """Search the disks, the processes, and what the API tells."""
    state = state_of(cluster)
    canaries = Canaries({"file": FILE, "env": ENV, "pull": PULL})
    canaries.add("admin token", next(state.rglob("admin.token")).read_bytes().strip())
    tokens = sorted(state.rglob("join.token"))
    for file in tokens:
        canaries.add(f"join token {file}", file.read_bytes().strip().rpartition(b".")[2])
    for file in (f for f in files_below(state) if f.name.endswith((".key", "node.pem"))):
        canaries.add_keys(str(file), file.read_bytes())
    found = canaries.in_files(files_below(state))
    assert len(found) >= len(tokens) + 8, "the search finds what is there"
    own = {name for name in found if name.endswith(KEY_FILES)}
    asked_for = {name for name in found.keys() - own if OF_PODMAN in name}
    assert all(found[name] == ["env"] for name in asked_for), "a variable is in podman's files"
    assert found.keys() - own - asked_for == set()
    assert open_to_others(map(Path, own)) == []
    ours = [pid for pid, title in processes_of(cluster) if title.startswith("wherry-")]
    others = [pid for pid, title in processes_of(cluster) if not title.startswith("wherry-")]
    assert canaries.in_processes(ours) == {}
    seen = {name for names in canaries.in_processes(others).values() for name in names}
    assert seen <= {"env"}, "the environment of the container that asked for it"
    assert canaries.in_data(cluster.kubectl("get", OBJECTS, "-A", "-o", "json").encode()) == []
    dump = cluster.kubectl("describe", "pods,nodes", "-A")
    assert canaries.in_data(dump.encode()) == []
