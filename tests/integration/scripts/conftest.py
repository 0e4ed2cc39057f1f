"""One master for all tests of this room, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from common.client.grpc import GrpcClient, channel
from tests.fakes.master import RunningMaster


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMaster]:
    """A running master."""
    made = RunningMaster(tmp_path_factory.mktemp("master"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest_asyncio.fixture(params=["certificate", "token"])
async def client(
    master: RunningMaster, request: pytest.FixtureRequest
) -> AsyncIterator[GrpcClient]:
    """The administrator, once with a certificate on 6444 and once with a token on 6445."""
    by = {"certificate": master.with_certificate, "token": master.with_token}
    wanted = by[request.param]()
    async with GrpcClient(channel(wanted)) as made:
        yield made
