"""One set of machines for all tests, gone at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.machines.machines import Machines, missing


@pytest.fixture(scope="session")
def name_of_set() -> str:
    """A name that no other run on this host uses; fails, or skips, where no machine can be."""
    lacking = missing()
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(lacking)}")
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)}")
    return f"t{os.getpid()}"


@pytest.fixture(scope="session")
def machines(name_of_set: str) -> Iterator[Machines]:
    """m1, n1, n2 and n3, on and booted, with nothing of Wherry on them."""
    made = Machines(name_of_set)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def other_machines(name_of_set: str) -> Iterator[Machines]:
    """Another set, of which no machine was made yet."""
    made = Machines(f"{name_of_set}x")
    try:
        yield made
    finally:
        made.down()
