"""A real kube-proxy beside a real master, both in one network namespace of their own.

Its memory by the number of services; a storm of endpoint changes; and new connections through a
cluster IP beside a direct connection and the same rules loaded by `nft -f`.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from common.etcd.client import EtcdClient
from node.kubeproxy.dataplane.libnftables import generation
from tests.bench.measure import Row
from tests.bench.processes import cpu_seconds, rss_mib, running_master
from tests.bench.services.store import (
    BASE_PORT,
    ENDPOINTS,
    addresses,
    cluster_ip,
    etcd_of,
    put_service,
    put_slice,
    write,
)
from tests.fakes.sandbox import enter_own_machine
from tests.servers.master import ROOT, RunningMaster

SIZES = ((0, ""), (1_000, "60 MiB"), (5_000, ""))
STORM_SERVICES = 1_000
STORM_SECONDS = 5
CHANGES_A_SECOND = 1_000
WRITES_A_SECOND = 20
CALL_SECONDS = 0.5
CALL_ROUNDS = 4
DEADLINE_SECONDS = 40.0
DNAT = re.compile(r"dnat to (10\.42\.[0-9.]+:[0-9]+)")


def rows() -> Iterator[Row]:
    """The part of the report, from a process that has entered the namespace."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield from pool.submit(_in_namespace).result()


def _in_namespace() -> list[Row]:
    enter_own_machine()
    with _backends(), running_master() as master:
        return asyncio.run(_measured(master))


async def _measured(master: RunningMaster) -> list[Row]:
    found = []
    async with etcd_of(master) as etcd:
        for size, target in SIZES:
            await write(etcd, [put(n) for n in range(size) for put in (put_service, put_slice)])
            with _kube_proxy(master) as process:
                expected = {f"{one}:{BASE_PORT}" for n in range(size) for one in addresses(n)}
                await _until_rules(expected)
                text = f"{rss_mib(process.pid):.0f} MiB RSS"
                title = f"kube-proxy with {size} services of {ENDPOINTS} endpoints"
                found.append(Row(title, text, target))
                if size == STORM_SERVICES:
                    found += await _storm(etcd, process.pid)
                    found += _calls(process)
    return found


async def _storm(etcd: EtcdClient, pid: int) -> list[Row]:
    """Slices change at a fixed rate, all endpoints of one at a time; service 0 is left alone."""
    chosen, ports = random.Random(1), dict.fromkeys(range(STORM_SERVICES), BASE_PORT)
    before, cpu, start = generation(), cpu_seconds(pid), time.monotonic()
    at_once = CHANGES_A_SECOND // WRITES_A_SECOND
    for turn in range(STORM_SECONDS * WRITES_A_SECOND):
        changed = chosen.sample(range(1, STORM_SERVICES), at_once)
        ports |= dict.fromkeys(changed, BASE_PORT + 1 + turn)
        await etcd.txn([], [put_slice(number, ports[number]) for number in changed])
        await asyncio.sleep(max(0.0, start + (turn + 1) / WRITES_A_SECOND - time.monotonic()))
    seconds = time.monotonic() - start
    a_second = (generation() - before) / seconds
    percent = (cpu_seconds(pid) - cpu) / seconds * 100
    expected = {f"{one}:{port}" for number, port in ports.items() for one in addresses(number)}
    settled = await _until_rules(expected)
    title = f"{CHANGES_A_SECOND * STORM_SECONDS / seconds:.0f} endpoint changes a second"
    text = f"{a_second:.1f} a second, {percent:.0f} % of a core, {rss_mib(pid):.0f} MiB RSS"
    return [
        Row(f"  {title}: transactions", text, "at most 4"),
        Row("  every rule right after the last change within", f"{settled:.1f} s"),
    ]


def _calls(process: subprocess.Popen[bytes]) -> list[Row]:
    """New connections a second, of which every ratio compares what ran side by side."""
    direct, through = (addresses(0)[0], BASE_PORT), (cluster_ip(0), 80)
    ours = _ratio(through, direct)
    process.send_signal(signal.SIGTERM)
    process.wait()
    rules = _nft("-s", "list", "table", "ip", "wherry-proxy")
    _nft("delete", "table", "ip", "wherry-proxy")
    _nft("-f", "-", text=rules)
    by_hand = _ratio(through, direct)
    _nft("delete", "table", "ip", "wherry-proxy")
    return [
        Row("  new connections through a cluster IP, of direct ones", f"{ours:.2f}"),
        Row("  the same rules loaded by nft -f, of direct ones", f"{by_hand:.2f}"),
        Row("  kube-proxy's beside nft's", f"{ours / by_hand:.2f}", "1.0"),
    ]


def _ratio(through: tuple[str, int], direct: tuple[str, int]) -> float:
    """The median of some rounds, for the machine is shared."""
    return statistics.median(
        _connections_a_second(through) / _connections_a_second(direct) for _ in range(CALL_ROUNDS)
    )


def _connections_a_second(target: tuple[str, int]) -> float:
    """Connect and reset, one after the other: no port stays in use."""
    count, start = 0, time.monotonic()
    while time.monotonic() < start + CALL_SECONDS:
        with socket.create_connection(target, timeout=5) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        count += 1
    return count / (time.monotonic() - start)


@contextmanager
def _kube_proxy(master: RunningMaster) -> Iterator[subprocess.Popen[bytes]]:
    """The program itself, with a node's certificate."""
    directory = master.directory / "node"
    give_certificate(master, directory / "node-pki")
    command = [sys.executable, "-m", "node.kubeproxy", "--node-name", "n1"]
    command += ["--config", "/dev/null", "--data-dir", str(directory)]
    command += ["--run-dir", str(directory)]
    command += ["--cluster-cidr", "10.42.0.0/16", "--service-cidr", "10.43.0.0/16"]
    command += ["--master", master.url, "--node-port", str(master.node_port)]
    with (master.directory / "kube-proxy.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def give_certificate(master: RunningMaster, directory: Path) -> None:
    """What a node has after joining."""
    directory.mkdir(parents=True, exist_ok=True)
    pair = master.node_certificate("n1")
    (directory / "ca.crt").write_bytes(master.kubeconfig.ca_pem)
    (directory / "node.crt").write_bytes(pair.certificate_pem)
    (directory / "node.key").write_bytes(pair.key_pem)


async def _until_rules(expected: set[str]) -> float:
    """Seconds until the kernel leads to just these endpoints."""
    start = time.monotonic()
    while (found := await asyncio.to_thread(_targets)) != expected:
        missing = len(expected - (found or set()))
        assert time.monotonic() < start + DEADLINE_SECONDS, f"{missing} endpoints are missing"
        await asyncio.sleep(0.2)
    return time.monotonic() - start


def _targets() -> set[str] | None:
    """Every address that rules lead to; None without a table."""
    try:
        return set(DNAT.findall(_nft("list", "table", "ip", "wherry-proxy")))
    except subprocess.CalledProcessError:
        return None


def _nft(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["nft", *arguments], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout


@contextmanager
def _backends() -> Iterator[None]:
    """The endpoints of service 0: another namespace behind a veth, where somebody accepts."""
    accept = (
        f"import socket; s = socket.create_server(('', {BASE_PORT}), backlog=4096)\n"
        "print(flush=True)\n"
        "while True: s.accept()[0].close()"
    )
    wait = f'read go; exec {sys.executable} -c "$0"'
    command = ["unshare", "--net", "sh", "-c", wait, accept]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        _until(lambda: _netns(process.pid) != _netns("self"))
        _ip(f"link add near type veth peer name far netns {process.pid}")
        _ip("address add 10.42.255.1/16 dev near")
        _ip("link set near up")
        _ip("route add 10.43.0.0/16 dev near")
        inside = ["nsenter", "--net", "--target", str(process.pid), "ip"]
        for address in addresses(0):
            subprocess.run([*inside, *f"address add {address}/16 dev far".split()], check=True)
        subprocess.run([*inside, *["link", "set", "far", "up"]], check=True)
        process.stdin.write(b"\n")
        process.stdin.close()
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def _netns(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
