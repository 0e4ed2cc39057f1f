"""A short run against a running master with a fixed seed; see tests/fuzz/__main__.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.stalls import stalls
from tests.fakes.master import RunningMaster
from tests.fuzz.rest import Fuzzer
from tests.integration.security.test_stalls import CPU_MS_MAX

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(300)]
REQUESTS = 4000


async def test_no_request_does_harm(tmp_path: Path) -> None:
    """F1: no 5xx, no connection without an answer, no traceback."""
    master = RunningMaster(tmp_path)
    try:
        master.start()
        report = await Fuzzer(master, 20_261_129).run(REQUESTS)
    finally:
        master.stop()
    assert report.faults == []
    assert max(stalls(master), default=(0, ""))[0] <= CPU_MS_MAX
    assert report.requests == REQUESTS
    assert {200, 201, 400, 404, 405, 406, 409, 415, 422} <= set(report.statuses)
