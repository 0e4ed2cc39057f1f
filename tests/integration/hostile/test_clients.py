"""Strangers and holders of a join token who mean harm: others are answered all the while."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from common.client.grpc import GrpcClient, channel
from master.apiserver.rpc.calllimits import READING_OF_A_CALLER_MAX
from master.apiserver.rpc.tools import HEALTH_WATCHERS_MAX
from tests.fakes.hostile.client import watch_health
from tests.fakes.hostile.grpc_client import UnendingCalls, anybody
from tests.integration.hostile.test_node import LOG_MAX_BYTES
from tests.servers.master import ROOT, RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
SECONDS = 8.0
GROWTH_MAX_BYTES = 200 << 20


def token(master: RunningMaster) -> str:
    """A join token's credential."""
    kubeconfig = str(master.directory / "data/admin.kubeconfig")
    code = "from common.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--kubeconfig", kubeconfig, "token", "create"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().split("::")[1]


@pytest.mark.parametrize("who", ["strangers", "a join token"])
def test_hostile_clients_harm_nobody(master: RunningMaster, who: str) -> None:
    """E7, F1, F2: with a tenth of a second for most answers, and never more than a few."""
    target = f"127.0.0.1:{master.port}"
    command = [sys.executable, "-m", "tests.fakes.hostile.client", target, str(SECONDS)]
    if who == "a join token":
        command.append(token(master))
    assert master.process is not None
    process = psutil.Process(master.process.pid)
    before, log_before = process.memory_info().rss, Path(master.log).stat().st_size
    waits, admin, end = [], master.admin(), time.monotonic() + SECONDS
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as hostile:
        while time.monotonic() < end:
            start = time.monotonic()
            status, _ = admin.request("GET", "/api/v1/namespaces/default")
            waits.append(time.monotonic() - start)
            assert status == 200
        grown = process.memory_info().rss - before
        said, _ = hostile.communicate()
    assert int(said) > 100
    assert statistics.quantiles(waits, n=20)[-1] < 2.0
    assert grown < GROWTH_MAX_BYTES
    assert Path(master.log).stat().st_size - log_before < LOG_MAX_BYTES
    assert "Traceback" not in Path(master.log).read_text(errors="replace")


async def test_strangers_watch_health_in_small_numbers_only(master: RunningMaster) -> None:
    ca_pem = master.kubeconfig.ca_pem
    let_in = await watch_health(master.script_port, ca_pem, HEALTH_WATCHERS_MAX + 100)
    assert 0 < let_in <= HEALTH_WATCHERS_MAX
    again = await watch_health(master.script_port, ca_pem, 5)
    assert again == 5, "those who have left make room"


@pytest.mark.parametrize("who", ["a stranger", "a node"])
async def test_calls_that_never_end_take_no_memory(master: RunningMaster, who: str) -> None:
    """A caller's messages are read when it is their turn, a few at a time, and not for long."""
    port, method, context = master.script_port, "/wherry.v1.Cluster/Create", anybody()
    if who == "a node":
        port, method = master.node_port, "/wherry.v1.NodeService/Control"
        context = master.context(master.node_certificate("bad"))
        context.check_hostname = False
    assert master.process is not None
    process = psutil.Process(master.process.pid)
    before = process.memory_info().rss
    calls = [
        UnendingCalls(port, method, calls=100, message_bytes=2_000_000, context=context)
        for _ in range(4)
    ]
    async with AsyncExitStack() as stack:
        for one in calls:
            await stack.enter_async_context(one)
        async with asyncio.timeout(60):
            while not all(one.refused for one in calls):
                await asyncio.sleep(0.1)
        assert sum(one.sent_bytes for one in calls) > 4 * READING_OF_A_CALLER_MAX * 65535
        assert process.memory_info().rss - before < 100 << 20
        async with GrpcClient(channel(master.with_token())) as admin:
            found = await admin.get(admin.resource("ns"), "", "default")
        assert json.loads(found)["metadata"]["name"] == "default"
