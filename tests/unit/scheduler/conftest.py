"""The invariants of the scheduler's cores."""

from collections.abc import Iterator

import pytest

from master.scheduler.columns import Columns
from master.scheduler.queue import SchedulingQueue
from tests.fakes.invariants import checked


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every queue and all columns holds after each test."""
    with checked(Columns, SchedulingQueue):
        yield
