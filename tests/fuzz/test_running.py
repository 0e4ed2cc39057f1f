"""Short runs against one running master with a fixed seed; see tests/fuzz/__main__.py."""

from __future__ import annotations

import pytest

from tests.fuzz import nodes, rest, rpc
from tests.fuzz.report import Report
from tests.integration.security.test_stalls import CPU_MS_MAX
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
SEED = 20_261_129
GROWTH_MAX_MIB = 60.0


def check(report: Report) -> None:
    """What no run may do, whoever sends it."""
    assert report.faults == []
    assert report.stall_worst[0] <= CPU_MS_MAX
    before, after = report.memory_mib
    assert after - before < GROWTH_MAX_MIB


async def test_requests(master: RunningMaster) -> None:
    """F1: no 5xx, no connection without an answer, no traceback."""
    report = await rest.Fuzzer(master, SEED).run(4000)
    check(report)
    assert report.requests == 4000
    assert {200, 201, 400, 404, 405, 406, 409, 415, 422} <= set(report.statuses)


async def test_calls_of_scripts(master: RunningMaster) -> None:
    report = await rpc.Fuzzer(master, SEED).run(3000)
    check(report)
    assert report.requests == 3000
    assert {"OK", "ALREADY_EXISTS", "NOT_FOUND", "UNIMPLEMENTED"} <= set(report.statuses)


async def test_messages_of_nodes(master: RunningMaster) -> None:
    """What they say harms neither the master nor a node that behaves."""
    report = await nodes.Fuzzer(master, SEED).run(4000)
    check(report)
    assert report.requests >= 4000
    assert {"Control INVALID_ARGUMENT", "Range OK", "Session PERMISSION_DENIED"} <= set(
        report.statuses
    )
