"""A running master for whoever asks for one, and the same random examples in every run.

A run is red because of its change, or not at all. `tests/run full` looks for new examples
(`--hypothesis-profile=long`); what it finds becomes a test.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers.master import RunningMaster

settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "long", derandomize=False, deadline=None, print_blob=True, max_examples=5000
)
settings.load_profile("fixed")

# A shell starts what it puts into the background deaf to Ctrl-C, and whatever the tests start would
# be so, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _running(directory: Path) -> Iterator[RunningMaster]:
    made = RunningMaster(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMaster]:
    """A running master, with its etcd, for the tests of one file."""
    yield from _running(tmp_path_factory.mktemp("master"))


@pytest.fixture
def own_master(tmp_path: Path) -> Iterator[RunningMaster]:
    """One of a test's own, in its directory, for a test that stops it or changes its keys."""
    yield from _running(tmp_path)
