"""A fake node for each test; it must leave no task behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.kubelet import FakeNode, end


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    """A machine whose kubelet has begun and is in step with the master."""
    made = FakeNode(tmp_path)
    await made.start()
    yield made
    await end(made)
