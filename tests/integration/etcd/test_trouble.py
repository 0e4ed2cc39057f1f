"""Fault rows B5, B6, B7: etcd is full, its disk is full, or it hangs: named, and survived."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from common.client.https import ConnectionFailed, HttpsClient, client_context, unverified_context
from tests.servers.etcdcluster import running_cluster
from tests.servers.master import RunningMaster

pytestmark = pytest.mark.etcd
MAPS = "/api/v1/namespaces/default/configmaps"
MIB = 1 << 20
WAIT_SECONDS = 60.0


class Api:
    """A client that sees how the master fares."""

    def __init__(self, master: RunningMaster) -> None:
        self._master = master
        self._client = master.admin()

    def create(self, name: str, size: int = 0) -> tuple[int, str]:
        """The answer to a ConfigMap with so many bytes."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        body["data"] = {"x": "x" * size}  # type: ignore[assignment]
        status, said = self._client.request("POST", MAPS, json.dumps(body).encode())
        return status, said.decode()

    def delete(self, name: str) -> int:
        """The answer to its deletion."""
        return self._client.request("DELETE", f"{MAPS}/{name}")[0]

    def names(self) -> list[str]:
        """Those that there are, read in pages: all together may be more than the client takes."""
        found, more = [], ""
        while True:
            status, said = self._client.request("GET", f"{MAPS}?limit=10&continue={more}")
            assert status == 200, said
            page = json.loads(said)
            found += [each["metadata"]["name"] for each in page["items"]]
            if not (more := page["metadata"].get("continue", "")):
                return found

    def ready(self) -> tuple[int, str]:
        """What /readyz?verbose says."""
        anybody = HttpsClient(self._master.url, unverified_context())
        status, said = anybody.request("GET", "/readyz?verbose")
        return status, said.decode()

    def log(self, text: str) -> int:
        """How many lines of the master's log have a text."""
        return sum(text in line for line in self._master.log.read_text().splitlines())


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; a master that answers 503 or 504 meanwhile is waited for."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with contextlib.suppress(ConnectionFailed):
            if condition():
                return
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def fill(api: Api, prefix: str, size: int) -> tuple[list[str], int, str]:
    """Create until it is refused: (what was acknowledged, status and text of the refusal)."""
    made: list[str] = []
    while len(made) < 500:
        name = f"{prefix}{len(made):03}"
        status, said = api.create(name, size)
        if status != 201:
            return made, status, said
        made.append(name)
    raise AssertionError("it is never full")


def test_b5_a_full_etcd_takes_deletes_and_mends_itself(tmp_path: Path) -> None:
    with running_cluster(options=[f"--quota-backend-bytes={6 * MIB}"]) as cluster:
        master = RunningMaster(tmp_path)
        master.settings = tmp_path / "config.yaml"
        access = cluster.access()
        settings = {
            "etcd-endpoints": list(access.endpoints),
            **{f"etcd-{name}": getattr(access, name) for name in ("cacert", "cert", "key")},
        }
        master.settings.write_text(json.dumps(settings))
        try:
            master.start()
            api = Api(master)
            made, status, said = fill(api, "c", 400_000)
            assert status == 507
            assert "etcd is full: only reads and deletes are possible" in said
            until(lambda: "[-]etcd is degraded: it is full" in api.ready()[1], "it is told")
            assert api.ready()[0] == 200
            assert set(made) <= set(api.names())
            for name in made[:-2]:
                assert api.delete(name) == 200
                assert name not in api.names()
            until(lambda: api.create("after", 400_000)[0] == 201, "there is space again")
            until(lambda: "is degraded" not in api.ready()[1], "it is told")
            assert {*made[-2:], "after"} <= set(api.names())
            assert api.log("etcd is in trouble") == api.log("etcd has recovered") == 1
        finally:
            master.stop()


@pytest.fixture(scope="module")
def on_a_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMaster]:
    """A master with its own etcd, on a disk that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    directory = tmp_path_factory.mktemp("small")
    disk = directory / "data"
    disk.mkdir(mode=0o700)
    # etcd sets 64 MiB aside for its log, and as much again for the part that comes next.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m,mode=0700", "tmpfs", disk], check=True)
    master = RunningMaster(directory)
    try:
        master.start()
        yield master
    finally:
        master.stop()
        subprocess.run(["umount", disk], check=True)


def etcd_of(master: RunningMaster) -> psutil.Process:
    assert master.process is not None
    [found] = [one for one in psutil.Process(master.process.pid).children() if one.name() == "etcd"]
    return found


def status_of_a_read(master: RunningMaster) -> int:
    """By a client that waits longer than `wherry` does, whose ten seconds a busy host may take."""
    config = master.kubeconfig
    assert config.certificate is not None
    context = client_context(config.ca_pem, config.certificate)
    opened = http.client.HTTPSConnection("127.0.0.1", master.port, context=context, timeout=60)
    with closing(opened) as connection:
        connection.request("GET", MAPS)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status


def test_b7_an_etcd_that_hangs_is_named_and_nothing_is_stale(
    on_a_small_disk: RunningMaster,
) -> None:
    api = Api(on_a_small_disk)
    assert api.create("before")[0] == 201
    assert on_a_small_disk.process is not None
    threads = psutil.Process(on_a_small_disk.process.pid).num_threads()
    etcd = etcd_of(on_a_small_disk)
    etcd.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as clients:
            reads = [clients.submit(status_of_a_read, on_a_small_disk) for _ in range(7)]
            status, said = clients.submit(api.create, "during").result()
            assert status == 504 and "etcd did not answer in time" in said
            found = {one.result() for one in reads}
            assert found <= {503, 504}, "a read must not be older than it was asked"
        until(lambda: api.ready()[0] == 503, "it is not ready")
        assert "[-]etcd failed: it has not answered for " in api.ready()[1]
        assert psutil.Process(on_a_small_disk.process.pid).num_threads() <= threads + 4
    finally:
        etcd.send_signal(signal.SIGCONT)
    until(lambda: api.ready()[0] == 200, "it is ready again")
    until(lambda: api.create("after")[0] == 201, "writes")
    assert {"before", "after"} <= set(api.names())
    until(lambda: api.log("etcd is back") == 1, "it is told")
    assert api.log("etcd is away") == 1


def test_b6_a_full_disk_is_named_and_survived_without_hands(on_a_small_disk: RunningMaster) -> None:
    api = Api(on_a_small_disk)
    disk = on_a_small_disk.directory / "data"
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - MIB // 2)
    made, status, said = fill(api, "d", 900_000)
    assert status in (503, 504)
    named = f"the disk of {disk}/etcd is full: 0 MiB are left"
    assert named in said
    until(lambda: api.ready()[0] == 503 and named in api.ready()[1], "it is told")
    with contextlib.suppress(psutil.NoSuchProcess, ValueError):
        assert etcd_of(on_a_small_disk).is_running()
    ballast.unlink()
    until(lambda: api.ready()[0] == 200, "it is ready again")
    until(lambda: api.create("room", 900_000)[0] == 201, "writes")
    assert {*made, "room"} <= set(api.names())
