"""One master for all security tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
