"""What an install takes on machines that systemd runs, and what its services cost at rest.

`python -m tests.bench.machines`: as root, with the packages of tests/machines/vm. Makes m1 and n1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Row
from tests.machines.machines import Machines
from tests.machines.tools.ansible import files_of_checkout

URL = "https://10.97.7.10:6443"
UNITS = {"m1": ("wherry-master",), "n1": ("wherry-kubelet", "wherry-kube-proxy")}
REST_SECONDS = 60
GETS = 5


def rows() -> Iterator[Row]:
    """The report's part."""
    machines = Machines(f"b{os.getpid()}")
    with tempfile.TemporaryDirectory() as directory:
        bundle = _bundle(Path(directory))
        try:
            machines.up("m1", "n1")
            yield from _measured(machines, bundle)
        finally:
            machines.down()


def _bundle(directory: Path) -> Path:
    """What `make bundle` makes of this checkout."""
    subprocess.run(["tar", "-C", directory, "-xf", "-"], input=files_of_checkout(), check=True)
    subprocess.run([sys.executable, "-m", "deploy.bundle"], cwd=directory, check=True)
    (archive,) = (directory / "dist").glob("wherry-*.tar.gz")
    return archive


def _measured(machines: Machines, bundle: Path) -> Iterator[Row]:
    for name in UNITS:
        machines.put(name, bundle, "/root/bundle.tar.gz")
    machines.run("m1", "systemctl disable --now etcd.service")
    unpack = "mkdir /root/w && tar -C /root/w --strip-components 1 -xzf /root/bundle.tar.gz"
    install = f"{unpack} && /root/w/deploy/install"
    seconds = _seconds(machines, "m1", f"{install} master")
    yield Row("a master, from its bundle to serving", f"{seconds:.0f} s")
    token = machines.run("m1", "wherry token create --uses 1")
    machines.run("n1", "umask 077; cat > /root/token", input=token)
    seconds = _seconds(machines, "n1", f"{install} node --server {URL} --token-file /root/token")
    yield Row("a node, from its bundle to Ready", f"{seconds:.0f} s", "60 s")
    seconds = _seconds(machines, "m1", "/root/w/deploy/install master")
    yield Row("the same again, with nothing to do", f"{seconds:.1f} s", "5 s")
    seconds = _seconds(machines, "m1", "systemctl restart wherry-master")
    yield Row("wherry-master, stopped and started to serving", f"{seconds:.1f} s", "5 s")
    gets = [_seconds(machines, "m1", "wherry get pods") for _ in range(GETS)]
    nothing = min(_seconds(machines, "m1", "true") for _ in range(GETS))
    yield Row("wherry get pods, without ssh", f"{min(gets) - nothing:.2f} s", "0.3 s")
    yield from _at_rest(machines)


def _seconds(machines: Machines, name: str, command: str) -> float:
    start = time.monotonic()
    machines.run(name, command, timeout_seconds=600)
    return time.monotonic() - start


def _at_rest(machines: Machines) -> Iterator[Row]:
    """CPU and memory as systemd accounts them; etcd's are in the master's unit."""
    before = {unit: _accounted(machines, name, unit) for name in UNITS for unit in UNITS[name]}
    start = time.monotonic()
    time.sleep(REST_SECONDS)
    for name in UNITS:
        for unit in UNITS[name]:
            cpu, memory = _accounted(machines, name, unit)
            percent = (cpu - before[unit][0]) / 1e9 / (time.monotonic() - start) * 100
            yield Row(f"{unit} at rest", f"{percent:.1f} % CPU, {memory / (1 << 20):.0f} MiB")


def _accounted(machines: Machines, name: str, unit: str) -> tuple[int, int]:
    """(CPU time in nanoseconds, memory in bytes)."""
    show = f"systemctl show --property CPUUsageNSec,MemoryCurrent {unit}"
    found = dict(line.split("=") for line in machines.run(name, show).split())
    return int(found["CPUUsageNSec"]), int(found["MemoryCurrent"])


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
