"""kube-proxy's rules in the kernel: loading all of them, changing one service, memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from node.kubeproxy.dataplane.nftables import NftablesDataplane
from node.kubeproxy.rules import Piece, piece
from node.kubeproxy.table import Endpoint, NodeFacts, ServicePort
from tests.bench.measure import Row, percentile
from tests.fakes.sandbox import own_machine

SIZES = ((10, "", ""), (1_000, "600 ms", "50 ms"), (5_000, "", ""))
CHANGES = 30
FACTS = NodeFacts("n1", ("192.0.2.1",))


def rows() -> Iterator[Row]:
    """The part of the report; each size in a process and network namespace of its own."""
    for services, full_target, change_target in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            full_ms, changes_ms, rss_mib = pool.submit(_measure, services).result()
        name = f"{services} services of 3 endpoints"
        yield Row(f"kube-proxy: load {name}", f"{full_ms:.0f} ms", full_target)
        median, tail = statistics.median(changes_ms), percentile(changes_ms, 90)
        spread = f"p50 {median:.1f} ms, p90 {tail:.1f} ms"
        yield Row(f"kube-proxy: change one of {services}", spread, change_target)
        yield Row(f"kube-proxy: dataplane's process with {services}", f"{rss_mib:.0f} MiB RSS")


def _piece(number: int, first: int) -> Piece:
    ends = tuple(Endpoint(f"10.42.{number % 250}.{first + k}", 8080, False) for k in range(3))
    address = f"10.43.{number // 250}.{number % 250 + 1}"
    port = ServicePort(f"default/s{number}", "", "tcp", address, 80, endpoints=ends)
    return piece([port], FACTS)


def _measure(services: int) -> tuple[float, list[float], float]:
    return asyncio.run(_measured(services))


async def _measured(services: int) -> tuple[float, list[float], float]:
    offload = await own_machine()
    dataplane = NftablesDataplane(FACTS, offload)
    start = time.perf_counter()
    await dataplane.reload({f"default/s{n}": _piece(n, 2) for n in range(services)})
    full_ms = (time.perf_counter() - start) * 1000
    changes_ms = []
    for turn in range(CHANGES):
        number = turn * 7 % services
        start = time.perf_counter()
        await dataplane.apply({f"default/s{number}": _piece(number, 10 + turn)})
        changes_ms.append((time.perf_counter() - start) * 1000)
    offload.close()
    return full_ms, changes_ms, _rss_mib()


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
