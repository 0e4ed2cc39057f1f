"""The verbs of kubectl, with every kubectl that the machine has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import IMAGE, Cluster, deployment, kubectls, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture(params=kubectls() or [""], ids=lambda path: Path(path).parent.name or "none")
def k(clean: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster, driven by one kubectl."""
    former = clean.kubectl_path
    clean.kubectl_path = request.param
    yield clean
    clean.kubectl_path = former


def ready(k: Cluster, name: str) -> int:
    """How many replicas of a Deployment are ready."""
    return int(k.get("deploy", name)["status"].get("readyReplicas", 0))


def test_pod_verbs(k: Cluster, tmp_path: Path) -> None:
    """run, get, get -w, wait, describe, logs -f, label, annotate, patch, edit, delete."""
    seen = tmp_path / "watch"
    watch = k.popen("get", "pods", "-w", "--output-watch-events", output=seen)
    script = "for i in 1 2 3; do echo line $i; sleep 0.2; done; sleep 1000"
    k.kubectl(
        "run", "p", f"--image={IMAGE}", "--image-pull-policy=IfNotPresent", "--", "sh", "-c", script
    )
    k.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=60s")
    described = k.kubectl("describe", "pod", "p")
    assert "Successfully assigned default/p to node" in described
    until(lambda: "Started" in k.kubectl("describe", "pod", "p"), what="Started event")
    follow = k.popen("logs", "-f", "p")
    until(lambda: "line 3" in k.kubectl("logs", "p"), what="the log")
    assert k.kubectl("logs", "p", "--tail=1") == "line 3\n"
    assert k.kubectl("logs", "p", "--timestamps", "--tail=1").split(" ", 1)[1] == "line 3\n"
    assert k.kubectl("logs", "p", "--since=1h").count("line") == 3
    k.kubectl("label", "pod", "p", "colour=blue")
    k.kubectl("annotate", "pod", "p", "note=hello")
    k.kubectl("patch", "pod", "p", "-p", '{"metadata":{"labels":{"patched":"yes"}}}')
    k.kubectl(
        "patch",
        "pod",
        "p",
        "--type=json",
        "-p",
        '[{"op":"add","path":"/metadata/labels/json","value":"yes"}]',
    )
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/colour: blue/colour: green/' \"$1\"\n")
    editor.chmod(0o755)
    k.env["KUBE_EDITOR"] = str(editor)
    k.kubectl("edit", "pod", "p")
    labels = k.get("pod", "p")["metadata"]["labels"]
    assert labels == {"run": "p", "colour": "green", "patched": "yes", "json": "yes"}
    assert "pod/p" in k.kubectl("get", "pods", "-l", "colour=green", "-o", "name")
    assert k.kubectl("get", "pods", "-l", "colour=blue", "-o", "name") == ""
    k.kubectl("delete", "pod", "p", "--grace-period=1")
    printed, _ = follow.communicate(timeout=30)
    assert printed.splitlines() == ["line 1", "line 2", "line 3"]
    until(lambda: "DELETED" in seen.read_text(), timeout_seconds=10, what="the watch's end")
    watch.terminate()
    watch.wait(timeout=10)
    assert "ADDED" in seen.read_text()
    assert "Running" in seen.read_text()


def test_rollouts(k: Cluster) -> None:
    """apply, scale, set, rollout status|history|undo|pause|resume|restart."""
    manifest = json.dumps(deployment("web", 3))
    assert "created" in k.kubectl("apply", "-f", "-", text=manifest)
    k.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
    assert "unchanged" in k.kubectl("apply", "-f", "-", text=manifest)
    nodes = {p["spec"]["nodeName"] for p in k.get("pods", "-l", "app=web")["items"]}
    assert nodes == {"node1", "node2", "node3"}
    k.kubectl("scale", "deploy/web", "--replicas=2")
    until(lambda: ready(k, "web") == 2 and len(k.get("pods", "-l", "app=web")["items"]) == 2)
    k.kubectl("set", "env", "deploy/web", "A=1")
    k.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
    k.kubectl("set", "image", "deploy/web", f"c={IMAGE}:latest")
    k.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
    history = k.kubectl("rollout", "history", "deploy/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2", "3"]
    k.kubectl("rollout", "undo", "deploy/web", "--to-revision=1")
    k.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
    container = k.get("deploy", "web")["spec"]["template"]["spec"]["containers"][0]
    assert "env" not in container
    assert container["image"] == IMAGE
    k.kubectl("rollout", "pause", "deploy/web")
    k.kubectl("rollout", "restart", "deploy/web", check=False)
    k.kubectl("set", "env", "deploy/web", "B=2")
    k.kubectl("rollout", "resume", "deploy/web")
    k.kubectl("rollout", "restart", "deploy/web")
    k.kubectl("rollout", "status", "deploy/web", "--timeout=90s")
    pods = k.get("pods", "-l", "app=web")["items"]
    envs = [p["spec"]["containers"][0].get("env") for p in pods if not _deleting(p)]
    assert envs == [[{"name": "B", "value": "2"}]] * 2
    assert "ScalingReplicaSet" in k.kubectl("describe", "deploy", "web")
    k.kubectl("delete", "deploy", "web")
    until(lambda: not k.get("pods", "-l", "app=web")["items"], what="pods of a deleted Deployment")


def _deleting(found: dict[str, object]) -> bool:
    return "deletionTimestamp" in found["metadata"]  # type: ignore[operator]


def test_lists_and_errors(k: Cluster) -> None:
    """api-resources, explain, top, create of several kinds, and Kubernetes' own errors."""
    assert "deployments" in k.kubectl("api-resources")
    assert "containers" in k.kubectl("explain", "pod.spec")
    k.kubectl("create", "configmap", "cm", "--from-literal=a=1")
    k.kubectl("create", "secret", "generic", "s", "--from-literal=b=2")
    k.kubectl("create", "namespace", "e2e-ns")
    until(lambda: k.get("sa", "-n", "e2e-ns")["items"], what="the default service account")
    until(lambda: "kube-root-ca.crt" in k.kubectl("get", "cm", "-n", "e2e-ns"))
    k.kubectl("delete", "namespace", "e2e-ns", timeout_seconds=60)
    assert k.kubectl("get", "cm", "cm", "-o", "jsonpath={.data.a}") == "1"
    assert 'configmaps "cm" already exists' in k.kubectl("create", "configmap", "cm", check=False)
    assert 'pods "nope" not found' in k.kubectl("get", "pod", "nope", check=False)
    wrong = pod("w", ["true"], restartPolicy="Sometimes")
    said = k.kubectl("apply", "-f", "-", text=json.dumps(wrong), check=False)
    assert 'spec.restartPolicy: Unsupported value: "Sometimes"' in said
    unknown = pod("w", ["true"], colour="blue")
    said = k.kubectl("apply", "-f", "-", text=json.dumps(unknown), check=False)
    assert 'unknown field "spec.colour"' in said
    warned = k.run_kubectl(["apply", "-f", "-"], text=json.dumps(_stateful_set())).stderr
    assert "nothing acts on it yet" in warned
    k.kubectl("delete", "statefulset", "db")
    warned = k.run_kubectl(["get", "endpoints"]).stderr
    assert "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in warned


def _stateful_set() -> dict[str, object]:
    made = deployment("db", 1)
    made["kind"] = "StatefulSet"
    made["spec"]["serviceName"] = "db"
    return made


def test_top(k: Cluster) -> None:
    """top nodes and top pods show what the kubelets measure."""
    k.apply(
        pod(
            "busy",
            ["sh", "-c", "while true; do :; done"],
            container={"resources": {"limits": {"cpu": "200m"}}},
        )
    )
    k.kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=60s")
    until(lambda: "node3" in k.kubectl("top", "nodes", check=False), what="top nodes")

    def milli() -> int:
        said = k.kubectl("top", "pod", "busy", "--no-headers", check=False).split()
        return int(said[1].removesuffix("m")) if len(said) == 3 and said[0] == "busy" else 0

    assert 100 <= until(lambda: milli() if milli() >= 100 else 0, what="CPU of busy") <= 300


def test_watch_sees_every_change(k: Cluster) -> None:
    """A watch shows every change of an object, each once and in order."""
    k.kubectl("create", "configmap", "seen", "--from-literal=n=0")
    version = k.get("cm", "seen")["metadata"]["resourceVersion"]
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={version}"
    watch = k.popen("get", "--raw", f"{path}&timeoutSeconds=20&fieldSelector=metadata.name%3Dseen")
    for number in range(1, 21):
        k.kubectl("patch", "cm", "seen", "-p", json.dumps({"data": {"n": str(number)}}))
    k.kubectl("delete", "cm", "seen")
    printed, _ = watch.communicate(timeout=60)
    events = [json.loads(line) for line in printed.splitlines()]
    values = [e["object"]["data"]["n"] for e in events if e["type"] == "MODIFIED"]
    assert values == [str(number) for number in range(1, 21)]
    assert events[-1]["type"] == "DELETED"


def test_a_namespace_names_what_its_pods_may_do(k: Cluster) -> None:
    label = ("label", "namespace", "default", "--overwrite")
    prefix = "pod-security.kubernetes.io"
    try:
        k.kubectl(*label, f"{prefix}/enforce=baseline", f"{prefix}/warn=restricted")
        overrides = '--overrides={"spec":{"hostNetwork":true}}'
        said = k.kubectl("run", "wide", f"--image={IMAGE}", overrides, check=False)
        assert 'violates PodSecurity "baseline:latest": host namespaces' in said
        said = k.kubectl("run", "fair", f"--image={IMAGE}", check=False)
        assert 'Warning: would violate PodSecurity "restricted:latest"' in said
        assert "pod/fair created" in said
    finally:
        k.kubectl(*label, f"{prefix}/enforce-", f"{prefix}/warn-")
