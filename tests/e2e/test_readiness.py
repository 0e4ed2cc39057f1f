"""Probes, hooks and readiness gates, as kubectl shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
FAST = {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1}
WAITS = "trap 'exit 0' TERM; while :; do sleep 0.2; done"


def status(cluster: Cluster, name: str) -> dict[str, Any]:
    """The status of the pod's container; empty before there is one."""
    found = cluster.get("pod", name)["status"].get("containerStatuses", [{}])[0]
    return dict(found)


def is_ready(cluster: Cluster, name: str) -> bool:
    """Whether the pod is Ready."""
    conditions = cluster.get("pod", name)["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def messages(cluster: Cluster, name: str) -> str:
    """The pod's events."""
    return cluster.kubectl("describe", "pod", name)


def test_http_readiness(clean: Cluster) -> None:
    """A pod is ready while it answers, and no restart follows when it does not."""
    script = (
        "mkdir -p /tmp/w; echo ok > /tmp/w/ok; (sleep 8; rm /tmp/w/ok; sleep 8; "
        "echo ok > /tmp/w/ok) & exec httpd -f -p 8080 -h /tmp/w"
    )
    probe = {"httpGet": {"path": "/ok", "port": 8080}, **FAST}
    clean.apply(pod("web", ["sh", "-c", script], container={"readinessProbe": probe}))
    until(lambda: is_ready(clean, "web"), what="ready")
    until(lambda: not is_ready(clean, "web"), what="not ready")
    until(lambda: is_ready(clean, "web"), what="ready again")
    assert status(clean, "web")["restartCount"] == 0
    until(lambda: "HTTP probe failed with statuscode: 404" in messages(clean, "web"))


def test_liveness_restarts(clean: Cluster) -> None:
    """A container whose command says that it is not well is killed and restarted."""
    probe = {"exec": {"command": ["cat", "/tmp/alive"]}, **FAST, "initialDelaySeconds": 2}
    script = f"touch /tmp/alive; (sleep 4; rm /tmp/alive) & {WAITS}"
    clean.apply(pod("ill", ["sh", "-c", script], container={"livenessProbe": probe}))
    until(lambda: status(clean, "ill").get("restartCount", 0) >= 1, what="the restart")
    until(
        lambda: "Container c failed liveness probe, will be restarted" in messages(clean, "ill"),
        what="the event",
    )


def test_startup_gates(clean: Cluster) -> None:
    """Before its startup probe has succeeded, a container is neither started nor killed."""
    never = {"exec": {"command": ["false"]}, **FAST}
    slow = {"exec": {"command": ["cat", "/tmp/up"]}, **FAST, "failureThreshold": 100}
    script = f"(sleep 6; touch /tmp/up) & {WAITS}"
    probes = {"startupProbe": slow, "readinessProbe": slow, "livenessProbe": never}
    clean.apply(pod("slow", ["sh", "-c", script], container=probes))
    until(lambda: "running" in status(clean, "slow").get("state", {}))
    assert status(clean, "slow")["started"] is False
    assert status(clean, "slow")["restartCount"] == 0
    until(lambda: "failed liveness probe" in messages(clean, "slow"), what="liveness after startup")


def test_hooks(clean: Cluster) -> None:
    """preStop runs before TERM and delays the end; a failed postStart kills."""
    failing = {"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}}
    delayed = {"lifecycle": {"preStop": {"sleep": {"seconds": 8}}}}
    clean.apply(
        pod("failing", ["sh", "-c", WAITS], container=failing),
        pod("delayed", ["sh", "-c", WAITS], container=delayed, terminationGracePeriodSeconds=60),
    )
    until(lambda: is_ready(clean, "delayed"), what="delayed")
    clean.kubectl("delete", "pod", "delayed", "--wait=false")
    until(lambda: "Stopping container c" in clean.kubectl("get", "events"), what="the stop")
    shown = clean.kubectl("get", "pod", "delayed", check=False)
    assert "Terminating" in shown or "not found" in shown
    until(
        lambda: "not found" in clean.kubectl("get", "pod", "delayed", check=False),
        timeout_seconds=40,
        what="the end",
    )
    until(lambda: status(clean, "failing").get("restartCount", 0) >= 1, what="the kill")
    until(lambda: "FailedPostStartHook" in messages(clean, "failing"), what="the event")


def test_readiness_gates(clean: Cluster) -> None:
    """A condition that somebody else sets is waited for, and kept."""
    gates = [{"conditionType": "example.com/gate"}]
    clean.apply(pod("gated", ["sh", "-c", WAITS], readinessGates=gates))
    until(lambda: "running" in status(clean, "gated").get("state", {}))
    until(lambda: "ReadinessGatesNotReady" in json.dumps(clean.get("pod", "gated")))
    condition = {"type": "example.com/gate", "status": "True"}
    clean.kubectl(
        *("patch", "pod", "gated", "--subresource=status", "--type=strategic", "-p"),
        json.dumps({"status": {"conditions": [condition]}}),
    )
    until(lambda: is_ready(clean, "gated"), what="the gate")
    kept = clean.get("pod", "gated")["status"]["conditions"]
    assert any(c["type"] == "example.com/gate" and c["status"] == "True" for c in kept)


def test_services_are_variables(clean: Cluster) -> None:
    """Containers that start after a Service see its address; `kubernetes` they always see."""
    clean.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hello-world"},
            "spec": {
                "clusterIP": "10.43.0.77",
                "ports": [{"name": "http", "port": 80}],
                "selector": {"app": "x"},
            },
        }
    )
    until(lambda: clean.get("service", "hello-world"))
    clean.apply(pod("env", ["env"], restartPolicy="Never"))
    until(lambda: clean.get("pod", "env")["status"]["phase"] == "Succeeded", what="env")
    printed = clean.kubectl("logs", "env")
    assert "HELLO_WORLD_SERVICE_HOST=10.43.0.77\n" in printed
    assert "HELLO_WORLD_PORT_80_TCP=tcp://10.43.0.77:80\n" in printed
