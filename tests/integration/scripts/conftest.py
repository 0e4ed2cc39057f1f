"""Clients of a running master."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.client.grpc import GrpcClient, channel
from tests.servers.master import RunningMaster


@pytest_asyncio.fixture(params=["certificate", "token"])
async def client(
    master: RunningMaster, request: pytest.FixtureRequest
) -> AsyncIterator[GrpcClient]:
    """The administrator, once with a certificate on 6444 and once with a token on 6445."""
    by = {"certificate": master.with_certificate, "token": master.with_token}
    wanted = by[request.param]()
    async with GrpcClient(channel(wanted)) as made:
        yield made
