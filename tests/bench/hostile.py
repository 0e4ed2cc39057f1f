"""Everybody who means harm at once, against a cluster of three real nodes, and what others notice.

A stranger, the holder of a join token and the holder of a node's certificate on the network, and an
unprivileged pod on each node. `python -m tests.bench.hostile 600` takes ten minutes; needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc.aio

from common.client.https import ConnectionFailed, KubeConfig
from node.session.credentials import IDENTITY_FILE, load
from node.session.join import Machine, join
from tests.bench.cluster import figures
from tests.bench.measure import Row, percentile
from tests.e2e.cluster import IMAGE, ROOT, Cluster, deployment, kubectls, until
from tests.fakes.hostile.grpc_client import UnendingCalls, anybody
from tests.fakes.hostile.node import HostileNode
from tests.fakes.hostile.pod import FILLS, FLOODS, FORKS, NESTS

SECONDS = 600.0
SETTLE_SECONDS = 60.0
NODES = 3
METHODS = {6444: "/wherry.v1.NodeService/Control", 6445: "/wherry.v1.Cluster/Create"}
MAPS = "/api/v1/namespaces/default/configmaps"
CALLS = (
    ("GET", "/api/v1/namespaces/default", None),
    ("POST", MAPS, {"metadata": {"name": "mine"}, "data": {"k": "v"}}),
    ("GET", "/api/v1/pods", None),
    ("DELETE", f"{MAPS}/mine", None),
)


def rows(seconds: float = SECONDS) -> Iterator[Row]:
    """The part of the report; starts and ends a cluster."""
    with TemporaryDirectory() as directory:
        cluster = Cluster("hostile", "10.89.35", Path(directory))
        try:
            cluster.local("up", "--nodes", str(NODES), timeout_seconds=900)
            cluster.use()
            cluster.kubectl_path = kubectls()[0]
            yield from _measured(cluster, Path(directory), seconds)
        finally:
            cluster.local("down")


def _measured(cluster: Cluster, directory: Path, seconds: float) -> Iterator[Row]:
    cluster.apply(deployment("quiet", NODES), _hostile_pods())
    for name in ("quiet", "hostile"):
        waiting = ["rollout", "status", f"deploy/{name}", "--timeout=120s"]
        cluster.kubectl(*waiting, timeout_seconds=130)
    joined = _joined(cluster, directory)
    before = _memory(cluster)
    watching = _Watching(cluster)
    asyncio.run(_harm(cluster, joined, watching, seconds))
    yield from watching.rows()
    restarts = [
        status["restartCount"]
        for pod in cluster.get("pods", "-l", "app=quiet")["items"]
        for status in pod["status"]["containerStatuses"]
    ]
    yield Row("restarts of other pods on the same nodes", f"{restarts}", "none")
    hostile = [pod["status"]["phase"] for pod in cluster.get("pods", "-l", "app=hostile")["items"]]
    assert hostile == ["Running"] * NODES
    start = time.monotonic()
    cluster.kubectl("delete", "deploy", "hostile", "--cascade=foreground", timeout_seconds=300)
    until(lambda: not cluster.get("pods", "-l", "app=hostile")["items"], what="their end")
    yield Row("hostile pods are deleted", f"{time.monotonic() - start:.0f} s", "grace and 30 s")
    time.sleep(SETTLE_SECONDS)
    after = _memory(cluster)
    for name, mib in before.items():
        most = watching.memory[name]
        text = f"{mib:.0f} MiB, most {most:.0f}, a minute after {after[name]:.0f}"
        yield Row(f"memory of {name}", text, "flat")


class _Watching:
    """What another user notices, and how the machines are."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = KubeConfig(Path(cluster.env["KUBECONFIG"])).client()
        self._waits: dict[str, list[float]] = {}
        self._wrong: list[str] = []
        self._samples = 0
        self._not_ready: list[str] = []
        self.memory: dict[str, float] = {}

    def call(self) -> None:
        """One of each call, timed."""
        for method, path, body in CALLS:
            data = None if body is None else json.dumps(body).encode()
            start = time.monotonic()
            try:
                status, answer = self._client.request(method, path, data)
            except ConnectionFailed as error:
                status, answer = 503, str(error).encode()
            self._waits.setdefault(f"{method} {path}", []).append(time.monotonic() - start)
            if status >= 300:
                self._wrong.append(f"{method} {path} {status} {answer[:200]!r}")

    def look(self) -> None:
        """Every node but the hostile one, and the memory of every part."""
        self._samples += 1
        for node in self._client.json("GET", "/api/v1/nodes")["items"]:
            name, conditions = node["metadata"]["name"], node["status"].get("conditions", [])
            ready = any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)
            if name != "hostile" and not ready:
                self._not_ready.append(name)
        for name, mib in _memory(self._cluster).items():
            self.memory[name] = max(mib, self.memory.get(name, 0.0))

    def rows(self) -> Iterator[Row]:
        """What was noticed."""
        for what, waits in self._waits.items():
            times = f"p50 {percentile(waits, 50) * 1e3:.0f}, p99 {percentile(waits, 99) * 1e3:.0f}"
            text = f"{len(waits)} calls, {times}, most {max(waits) * 1e3:.0f} ms"
            yield Row(f"another user: {what}", text)
        yield Row("another user: answers that were errors", f"{self._wrong or 0}", "0")
        yield Row(f"nodes not Ready in {self._samples} looks", f"{self._not_ready or 0}", "0")


async def _harm(cluster: Cluster, joined: Path, watching: _Watching, seconds: float) -> None:
    """Everybody at once; another user calls all the while."""
    end = time.monotonic() + seconds
    async with AsyncExitStack() as stack:
        for bearer in ("", _token(cluster).partition("::")[2]):
            stack.enter_context(_clients(cluster, seconds, bearer))
        await stack.enter_async_context(_node(cluster, joined))
        for port in METHODS:
            await stack.enter_async_context(_calls(cluster, port, joined))
        looked = 0.0
        while time.monotonic() < end:
            await asyncio.to_thread(watching.call)
            if time.monotonic() - looked > 10.0:
                looked = time.monotonic()
                await asyncio.to_thread(watching.look)
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def _clients(cluster: Cluster, seconds: float, bearer: str) -> Iterator[None]:
    """A stranger, or the holder of a token. A machine of its own would not take our CPU time."""
    target = f"{cluster.lan}.10:6443"
    command = ["nice", "-n", "15", sys.executable, "-m", "tests.fakes.hostile.client", target]
    made = subprocess.Popen(
        [*command, str(seconds), *([bearer] if bearer else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        said, _ = made.communicate(timeout=60)
        print(f"{'token' if bearer else 'stranger'}: {said.strip()} requests", file=sys.stderr)
    finally:
        made.kill()
        made.wait()


@asynccontextmanager
async def _node(cluster: Cluster, joined: Path) -> AsyncIterator[None]:
    """The holder of a node's certificate."""
    own = load(joined)
    assert own is not None
    credentials = grpc.ssl_channel_credentials(own.ca, own.key, own.certificate)
    async with grpc.aio.secure_channel(f"{cluster.lan}.10:6444", credentials) as channel:
        hostile = HostileNode(channel, "hostile")
        running = asyncio.create_task(hostile.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            print(f"node: {hostile.sent} messages", file=sys.stderr)


@asynccontextmanager
async def _calls(cluster: Cluster, port: int, joined: Path) -> AsyncIterator[None]:
    """Connections full of calls that never end, opened again when they are over."""

    async def again() -> None:
        while True:
            context = anybody()
            if port == 6444:
                context.load_cert_chain(joined / IDENTITY_FILE)
            with contextlib.suppress(OSError, ssl.SSLError):
                calls = UnendingCalls(
                    port,
                    METHODS[port],
                    calls=100,
                    message_bytes=2_000_000,
                    context=context,
                    address=f"{cluster.lan}.10",
                )
                async with calls:
                    await asyncio.sleep(20)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(again()) for _ in range(3)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _hostile_pods() -> dict[str, Any]:
    """One on each node, as any user, with a share of the machine."""
    script = f"{FORKS}\nwhile true; do {NESTS}\n{FILLS}\n{FLOODS}\nsleep 1; done"
    made = deployment("hostile", NODES)
    spec = made["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "v", "emptyDir": {}}]
    spec["containers"] = [
        {
            "name": "c",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", script],
            "securityContext": {"runAsUser": 1000},
            "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ]
    return made


def _token(cluster: Cluster) -> str:
    """A join token."""
    wherry = Path(sys.executable).with_name("wherry")
    done = subprocess.run(
        [wherry, "token", "create"], env=cluster.env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _joined(cluster: Cluster, directory: Path) -> Path:
    """Credentials of a machine that has joined as a node."""
    token, own = directory / "token", directory / "joined"
    token.write_text(_token(cluster))
    token.chmod(0o600)
    machine = Machine("hostile", "0123456789abcdef")
    join(own, f"https://{cluster.lan}.10:6443", str(token), machine, lambda: time.sleep(0.2))
    return own


def _memory(cluster: Cluster) -> dict[str, float]:
    """Resident memory of the master and of each kubelet, in MiB."""
    found = {"master": figures(cluster, "master", "wherry-master")[1]}
    for number in range(1, NODES + 1):
        found[f"node{number}"] = figures(cluster, f"node{number}", "wherry-kubelet")[1]
    return found


if __name__ == "__main__":
    for row in rows(*map(float, sys.argv[1:2])):
        print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
