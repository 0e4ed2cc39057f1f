"""Services between real machines: who answers, how evenly, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import IMAGE, Cluster, pod, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def web(name: str, replicas: int, **container: Any) -> dict[str, Any]:
    """A Deployment of the demo's web servers, as the documentation advises to write one."""
    made = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        # Patient, because the test machine may be slow: what is slow must not count as not ready.
        "readinessProbe": {
            "httpGet": {"path": "/", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": 6}}},
        **container,
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": name}},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 20,
            "topologySpreadConstraints": [spread],
            "containers": [made],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    """A service of the Deployment with that name."""
    fields = {
        "selector": {"app": name},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        **spec,
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": fields}


def serve(cluster: Cluster, name: str, replicas: int, **spec: Any) -> str:
    """Web servers and their service, ready on every node; its address."""
    cluster.apply(service(name, **spec), web(name, replicas))
    cluster.kubectl("rollout", "status", f"deploy/{name}", "--timeout=90s")
    known(cluster, name, replicas)
    address: str = cluster.get("service", name)["spec"]["clusterIP"]
    return address


def known(cluster: Cluster, name: str, endpoints: int, port: int = 8080) -> None:
    """Wait until every node's proxy has so many endpoints of a service."""

    def seen(node: str) -> bool:
        table = cluster.shell(node, "wherry", "proxy", "table")
        lines = [line for line in table.splitlines() if line.startswith(f"default/{name}:")]
        return bool(lines) and lines[0].count(f":{port}") == endpoints

    for node in ("node1", "node2", "node3"):
        until(lambda node=node: seen(node), what=f"{endpoints} endpoints of {name} on {node}")


def calls(cluster: Cluster, node: str, address: str, count: int) -> Counter[str]:
    """Who answers calls from a node, one after the other."""
    loop = f"for i in $(seq {count}); do busybox wget -qO- http://{address}/ || echo failed; done"
    printed = cluster.shell(node, "sh", "-c", loop)
    return Counter(line.removeprefix("hello from ") for line in printed.split("\n") if line)


def run_in_pod(cluster: Cluster, name: str, script: str) -> str:
    """What a pod that runs a script prints until its end."""
    cluster.apply(pod(name, ["sh", "-c", script], restartPolicy="Never"))
    done = ("wait", f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    cluster.kubectl(*done)
    return cluster.kubectl("logs", name)


def test_thirty_calls_are_spread_ten_ten_ten(clean: Cluster) -> None:
    address = serve(clean, "web", 3)
    for node in ("node1", "node3"):
        assert sorted(calls(clean, node, address, 30).values()) == [10, 10, 10]
    script = 'for i in $(seq 30); do wget -qO- "http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT/"; done'
    printed = run_in_pod(clean, "caller", script)
    assert sorted(Counter(printed.split("\n")[:-1]).values()) == [10, 10, 10]


UDP_SERVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5353))
while True:
    server.sendto(socket.gethostname().encode(), server.recvfrom(100)[1])
"""
UDP_CALLS = """
import socket, sys
for _ in range(30):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.sendto(b"who?", (sys.argv[1], 53))
        print(client.recv(100).decode())
"""


def python_of_the_host() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts with which this Python runs in an image that has none."""
    paths = dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix))
    volumes = [{"name": f"v{n}", "hostPath": {"path": path}} for n, path in enumerate(paths)]
    mounts = [
        {"name": f"v{n}", "mountPath": path, "readOnly": True} for n, path in enumerate(paths)
    ]
    return volumes, mounts


def test_thirty_udp_calls_are_spread_ten_ten_ten(clean: Cluster) -> None:
    python = str(Path(sys.executable).resolve())
    volumes, mounts = python_of_the_host()
    servers = web("dns", 3, command=[python, "-c", UDP_SERVER], volumeMounts=mounts)
    servers["spec"]["template"]["spec"]["volumes"] = volumes
    bound = {"command": ["grep", ":14E9 ", "/proc/net/udp"]}  # 5353
    servers["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = {"exec": bound}
    ports = [{"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}]
    clean.apply(service("dns", ports=ports), servers)
    clean.kubectl("rollout", "status", "deploy/dns", "--timeout=90s")
    known(clean, "dns", 3, port=5353)
    placed = {pod["spec"]["nodeName"] for pod in clean.get("pods", "-l", "app=dns")["items"]}
    assert placed == {"node1", "node2", "node3"}
    address = clean.get("service", "dns")["spec"]["clusterIP"]
    for node in ("node1", "node3"):
        printed = clean.shell(node, python, "-c", UDP_CALLS, address)
        assert sorted(Counter(printed.split()).values()) == [10, 10, 10]


def test_a_client_stays_with_its_endpoint_also_when_one_is_added(clean: Cluster) -> None:
    address = serve(clean, "web", 2, sessionAffinity="ClientIP")
    before = calls(clean, "node2", address, 20)
    assert list(before.values()) == [20]
    clean.kubectl("scale", "deploy/web", "--replicas=3")
    known(clean, "web", 3)
    assert calls(clean, "node2", address, 20) == before


def test_a_node_port_answers_from_outside_on_every_node(clean: Cluster) -> None:
    serve(clean, "web", 3, type="NodePort")
    port = clean.get("service", "web")["spec"]["ports"][0]["nodePort"]
    seen: Counter[str] = Counter()
    for number in (11, 12, 13):
        for _ in range(3):
            url = f"http://{clean.lan}.{number}:{port}/"
            seen[subprocess.check_output(["busybox", "wget", "-qO-", url], text=True)] += 1
    assert len(seen) == 3


def test_without_endpoints_a_call_is_refused_at_once(clean: Cluster) -> None:
    clean.apply(service("nobody", type="NodePort"))
    found = clean.get("service", "nobody")["spec"]
    known(clean, "nobody", 0)
    for place in (f"{found['clusterIP']}:80", f"127.0.0.1:{found['ports'][0]['nodePort']}"):
        begin = time.monotonic()
        assert calls(clean, "node1", place, 1) == Counter({"failed": 1})
        assert time.monotonic() - begin < 10, "a dropped packet is tried for minutes"
    script = 'wget -qO- "http://$NOBODY_SERVICE_HOST/" 2>&1; exit 0'
    assert "refused" in run_in_pod(clean, "caller", script)


def test_a_pod_reaches_itself_through_its_service(clean: Cluster) -> None:
    address = serve(clean, "web", 1)
    [item] = clean.get("pods", "-l", "app=web")["items"]
    ended = clean.shell(
        item["spec"]["nodeName"],
        "sh",
        "-c",
        f"podman exec $(podman ps -q --filter label=io.wherry.pod.uid={item['metadata']['uid']}) "
        f"wget -qO- http://{address}/",
    )
    assert ended.strip() == f"hello from {item['metadata']['name']}"


def test_the_table_and_a_trace_are_told(clean: Cluster) -> None:
    address = serve(clean, "web", 2)
    told = clean.shell("node1", "wherry", "proxy", "trace", "10.42.1.2", f"{address}:80")
    assert "default/web:http/tcp" in told
    assert told.count(":8080") == 2
    listed = clean.shell("node1", "stat", "-c", "%a", "/run/wherry/kube-proxy.sock")
    assert listed.strip() == "600"


def test_pods_reach_each_other_and_the_api(clean: Cluster) -> None:
    serve(clean, "web", 3)
    pods = {p["spec"]["nodeName"]: p for p in clean.get("pods", "-l", "app=web")["items"]}
    assert set(pods) == {"node1", "node2", "node3"}
    for node in pods:
        name, address = pods[node]["metadata"]["name"], pods[node]["status"]["podIP"]
        printed = run_in_pod(clean, f"caller-of-{node}", f"wget -qO- http://{address}:8080/")
        assert printed.strip() == f"hello from {name}"
    script = "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo reached"
    assert "reached" in run_in_pod(clean, "to-the-api", script)
