"""The work queue's invariants."""

from collections.abc import Iterator

import pytest

from common.client.workqueue import WorkQueue
from tests.fakes.invariants import checked


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every work queue holds after each test."""
    with checked(WorkQueue):
        yield
