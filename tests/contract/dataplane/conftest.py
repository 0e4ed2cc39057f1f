"""Every test has a machine of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.runtime.offload import Offload
from tests.contract.dataplane.machine import build
from tests.fakes.sandbox import own_machine


@pytest.fixture
async def machine() -> AsyncIterator[Offload]:
    """The thread that lives on the node."""
    offload = await own_machine()
    servers = await offload(build)
    yield offload
    for server in servers:
        server.kill()
        server.communicate()
    offload.close()
