"""The watch cache's invariants."""

from collections.abc import Iterator

import pytest

from master.storage.watchcache import WatchCache
from tests.fakes.invariants import checked


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every watch cache holds after each test."""
    with checked(WatchCache):
        yield
