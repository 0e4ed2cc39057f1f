"""A node that means harm: others are heard, callers answered, memory and log stay small."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import psutil
import pytest

from common.client.grpc import channel
from tests.fakes.hostile.good_node import hold, is_ready
from tests.fakes.hostile.node import HostileNode
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
ROUNDS = 1
GROWTH_MAX_BYTES = 150 << 20
LOG_MAX_BYTES = 500_000


async def test_a_hostile_node_harms_nobody(master: RunningMaster) -> None:
    bad = master.with_certificate(master.node_certificate("bad"))
    good = master.with_certificate(master.node_certificate("good"))
    async with channel(bad) as first, channel(good) as second:
        holding = asyncio.create_task(hold(second, "good"))
        hostile = HostileNode(first, "bad")
        harming = asyncio.create_task(hostile.run())
        try:
            waits = await _until_rounds(master, hostile)
        finally:
            for task in (holding, harming):
                task.cancel()
            await asyncio.gather(holding, harming, return_exceptions=True)
    assert statistics.quantiles(waits, n=20)[-1] < 1.0, "another user's calls are answered"
    _check(master)
    assert master.admin().request("GET", "/apis/metrics.k8s.io/v1beta1/nodes")[0] == 200


async def _until_rounds(master: RunningMaster, hostile: HostileNode) -> list[float]:
    """How long an administrator waits for each answer until everything was sent some times."""
    admin, waits = master.admin(), []
    assert master.process is not None
    before = psutil.Process(master.process.pid).memory_info().rss
    while hostile.rounds < ROUNDS or len(waits) < 50:
        start = time.monotonic()
        status, _ = await asyncio.to_thread(admin.request, "GET", "/api/v1/namespaces/default")
        waits.append(time.monotonic() - start)
        assert status == 200
        await asyncio.sleep(0.05)
    grown = psutil.Process(master.process.pid).memory_info().rss - before
    assert grown < GROWTH_MAX_BYTES
    assert is_ready(master, "good")
    return waits


def _check(master: RunningMaster) -> None:
    log = Path(master.log).read_text(errors="replace")
    assert "Traceback" not in log
    assert len(log) < LOG_MAX_BYTES
    events = master.admin().json("GET", "/api/v1/events")["items"]
    assert all(item["involvedObject"].get("name") in ("good", "bad", None) for item in events)
    ready = master.admin().request("GET", "/readyz?verbose")[1].decode()
    assert "[-]" not in ready
