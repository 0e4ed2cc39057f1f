"""One user who floods in every way at once, and how long another waits for a GET meanwhile.

`python -m tests.bench.floods 60`, on a machine that has nothing else to do; needs etcd.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common.client.https import HttpsClient, KubeConfig
from tests.bench.measure import Row, percentile
from tests.integration.security.test_rbac import bound, created
from tests.integration.security.test_revocation import kubeconfig
from tests.servers.master import ROOT, RunningMaster

SPACE = "flood"


def rows(seconds: float = 60.0) -> Iterator[Row]:
    """The part of the report; starts and ends a master."""
    with TemporaryDirectory() as directory:
        master = RunningMaster(Path(directory))
        master.start()
        try:
            yield from _measured(master, Path(directory), seconds)
        finally:
            master.stop()


def _measured(master: RunningMaster, directory: Path, seconds: float) -> Iterator[Row]:
    created(master, "/api/v1/namespaces", {"metadata": {"name": SPACE}})
    kubeconfig(master, directory, "flooder", "--group", "flooders")
    other: KubeConfig = kubeconfig(master, directory, "other", "--group", "viewers")
    for group, role in (("flooders", "edit"), ("viewers", "view")):
        bound(master, group, role, {"kind": "Group", "name": group}, SPACE)
    quiet = _waits(other.client(), lambda count: count < 500)
    command = [sys.executable, "-m", "tests.fakes.hostile.flooding_user"]
    command += [str(directory / "flooder.kubeconfig"), SPACE, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as flood:
        flooded = _waits(other.client(), lambda _: flood.poll() is None)
        said, _ = flood.communicate()
    yield Row("another's GET, p99, nobody floods", f"{percentile(quiet, 99) * 1000:.0f} ms")
    text = f"{percentile(flooded, 99) * 1000:.0f} ms of {len(flooded)}"
    yield Row("another's GET, p99, during the flood", text, "100 ms")
    yield Row("answers to the flood", json.dumps(json.loads(said), sort_keys=True))


def _waits(client: HttpsClient, more: Callable[[int], bool]) -> list[float]:
    """The seconds that GETs take, one after the other, while there are to be more."""
    waits: list[float] = []
    while more(len(waits)):
        start = time.monotonic()
        status, body = client.request("GET", f"/api/v1/namespaces/{SPACE}/configmaps/none")
        waits.append(time.monotonic() - start)
        assert status == 404, body
    return waits


if __name__ == "__main__":
    for row in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0):
        print(row)
