"""The largest legal request of each kind: how long it takes, and how long it holds up others.

Beside each request a second client asks /livez, again and again; what the master's own watch says
of its event loop is printed, too.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.bench.measure import Row
from tests.bench.processes import running_master
from tests.servers.master import RunningMaster

DEFAULT = "/api/v1/namespaces/default"
SERVICES, CONFIG_MAPS, PODS = f"{DEFAULT}/services", f"{DEFAULT}/configmaps", f"{DEFAULT}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
ENDPOINTS = f"{DEFAULT}/endpoints"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
STRATEGIC = "application/strategic-merge-patch+json"
YAML = "application/yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PROTOBUF = "application/vnd.kubernetes.protobuf"
Send = Callable[[], tuple[int, bytes]]
http.client._MAXHEADERS = 10_000  # type: ignore[attr-defined] # one for each Warning
_HELD_UP = re.compile(r'held up".* ms=(\d+) cpu_ms=(\d+) place=("[^"]*"|\S*)')


def rows() -> Iterator[Row]:
    """The part of the report."""
    with running_master() as master:
        yield from (_measure(master, name, send) for name, send in requests(master))


def requests(master: RunningMaster) -> Iterator[tuple[str, Send]]:
    """What each is, and how to send it: (status, body) of its answer."""

    def send(method: str, path: str, body: Any, kind: str = "application/json") -> Send:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return lambda: _send(master, method, path, data, kind)

    lines = "".join(f"  key{n}: value\n" for n in range(55_000))
    yield "YAML of 1 MiB", send("POST", CONFIG_MAPS, _yaml(lines), YAML)
    labels = {f"l{n}": "-" for n in range(100_000)}
    unfit = {"metadata": {"name": "labels", "labels": labels}}
    yield "100 000 labels, all wrong", send("POST", CONFIG_MAPS, unfit)
    unknown = {"metadata": {"name": "unknown"}, **{f"u{n}": 1 for n in range(150_000)}}
    yield "150 000 unknown fields", send("POST", CONFIG_MAPS, unknown)
    data = {f"k{n}": "v" * 10 for n in range(60_000)}
    yield "ConfigMap of 60 000 keys", send("POST", CONFIG_MAPS, {**_named("keys"), "data": data})
    env = [{"name": f"E{n}", "value": "x" * 20} for n in range(20_000)]
    pod = {**_named("env"), "spec": {"containers": [{"name": "c", "image": "x", "env": env}]}}
    yield "Pod of 20 000 env", send("POST", PODS, pod)
    small = {"containers": [{"name": "c", "image": "x", "env": env[:10_000]}]}
    _send(master, "POST", PODS, json.dumps({**_named("p"), "spec": small}).encode(), "")
    conditions = [{"type": f"T{n}", "status": "True"} for n in range(10_000)]
    patch = {"status": {"conditions": conditions}}
    yield "patch of 10 000 conditions", send("PATCH", f"{PODS}/p/status", patch, STRATEGIC)
    ports = [{"name": f"p{n}", "port": n + 1} for n in range(15_000)]
    yield (
        "Service of 15 000 ports",
        send("POST", SERVICES, {**_named("s"), "spec": {"ports": ports}}),
    )
    endpoints = [{"addresses": [f"10.0.{n // 250}.{n % 250}"]} for n in range(50_000)]
    slices = {**_named("e"), "addressType": "IPv4", "endpoints": endpoints, "ports": []}
    yield "EndpointSlice of 50 000", send("POST", SLICES, slices)
    yield "JSON nested 100 000 deep", send("POST", CONFIG_MAPS, b"[" * 100_000)
    yield "body of 3 MiB of zeros", send("POST", CONFIG_MAPS, b"[" + b"0," * 1_500_000 + b"0]")
    yield from _followed(send, env)
    for accept in (TABLE, YAML, PROTOBUF):
        yield f"pods as {accept[:32]}", partial(_send, master, "GET", PODS, b"", accept=accept)
    yield "end of all pods", partial(_send, master, "DELETE", f"{PODS}?gracePeriodSeconds=0", b"")


def _followed(send: Callable[..., Send], env: list[dict[str, str]]) -> Iterator[tuple[str, Send]]:
    """What controllers act on: whatever they do within a second is measured, too."""
    yield "Service", send("POST", SERVICES, {**_named("m"), "spec": {"ports": [{"port": 80}]}})
    hosts = [{"ip": f"10.1.0.{n + 1}"} for n in range(220)]
    subsets = [{"addresses": hosts, "ports": [{"port": n + 1}]} for n in range(128)]
    yield "Endpoints of 28 160", send("POST", ENDPOINTS, {**_named("m"), "subsets": subsets})
    absent = [{"key": f"k{n}", "operator": "DoesNotExist"} for n in range(255)]
    labels, big = {"a": "b"}, {"containers": [{"name": "c", "image": "x", "env": env}]}
    selector = {"matchLabels": labels, "matchExpressions": absent}
    template = {"metadata": {"labels": labels}, "spec": big}
    spec = {"selector": selector, "template": template, "replicas": 3}
    yield "Deployment of such pods", send("POST", DEPLOYMENTS, {**_named("d"), "spec": spec})


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def _yaml(lines: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n{lines}".encode()


def _send(
    master: RunningMaster,
    method: str,
    path: str,
    data: bytes,
    kind: str = "",
    accept: str = "application/json",
) -> tuple[int, bytes]:
    """A request with a Content-Type: (status, body)."""
    context = master.context(master.kubeconfig.certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", master.port, timeout=120, context=context)
    headers = {"Content-Type": kind or "application/json"}
    try:
        connection.request(method, path, data, {**headers, "Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _measure(master: RunningMaster, name: str, send: Send) -> Row:
    seen, stop, waits = len(master.log.read_bytes()), threading.Event(), [0.0]

    def look() -> None:
        admin = master.admin()
        while not stop.is_set():
            start = time.monotonic()
            admin.request("GET", "/livez")
            waits.append(time.monotonic() - start)

    looking = threading.Thread(target=look)
    looking.start()
    start = time.monotonic()
    status, _ = send()
    seconds = time.monotonic() - start
    stop.set()
    looking.join()
    time.sleep(1.0)
    worst = max(stalls(master, seen), default=(0, ""))
    text = f"{status} in {seconds:.2f} s; /livez at most {max(waits) * 1e3:.0f} ms"
    loop = f"loop {worst[0]} ms of CPU {worst[1][:90]}" if worst[0] else "loop below 50 ms"
    return Row(f"{name}", f"{text}; {loop}", "50 ms")


def stalls(master: RunningMaster, since: int = 0) -> list[tuple[int, str]]:
    """(milliseconds of CPU, place) of what held up the master's loop, from an offset of its log."""
    return [
        (int(found[2]), found[3])
        for line in master.log.read_bytes()[since:].decode("utf-8", "replace").splitlines()
        if (found := _HELD_UP.search(line))
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:<32} {row.measured} ({row.target})", flush=True)
