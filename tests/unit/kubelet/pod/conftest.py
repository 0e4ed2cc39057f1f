"""The invariants of what is observed of a pod."""

from collections.abc import Iterator

import pytest

from node.kubelet.pod.memory import Observed
from tests.fakes.invariants import checked


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every observation holds after each test."""
    with checked(Observed):
        yield
