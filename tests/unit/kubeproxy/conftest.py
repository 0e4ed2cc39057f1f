"""The table's invariants."""

from collections.abc import Iterator

import pytest

from node.kubeproxy.table import Table
from tests.fakes.invariants import checked


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every table holds after each test."""
    with checked(Table):
        yield
