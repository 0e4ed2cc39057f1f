"""One set of machines for all tests, gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.machines import Machines, missing

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make bundle` makes of this checkout: an archive for Debian 12 and 13."""
    tree = tmp_path_factory.mktemp("tree")
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT)
    subprocess.run(
        ["cp", "--parents", "-t", tree, *files.decode().split("\0")[:-1]], cwd=ROOT, check=True
    )
    subprocess.run([sys.executable, "-m", "deploy.bundle"], cwd=tree, check=True)
    (archive,) = (tree / "dist").glob("wherry-*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def wheelhouse(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's wheels alone, with nothing of a bundle around them."""
    place = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        ["tar", "-C", place, "--strip-components=2", "-xzf", bundle, "--wildcards", "*/wheels/*"],
        check=True,
    )
    return place
