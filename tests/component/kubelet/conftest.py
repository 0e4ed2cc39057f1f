"""A fake node for each test; it must leave no task behind, and break no invariant."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.kubelet.pod_worker import PodWorker
from node.session.control import ControlStream
from tests.fakes.invariants import checked
from tests.fakes.kubelet import FakeNode, end


@pytest.fixture(autouse=True)
def invariants() -> Iterator[None]:
    """What must hold of every pod's worker and every stream holds after each test."""
    with checked(PodWorker, ControlStream):
        yield


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    """A machine whose kubelet has begun and is in step with the master."""
    made = FakeNode(tmp_path)
    await made.start()
    yield made
    await end(made)
