"""Removal of what containers made: all of it, nothing else, whatever it is."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.files import removal
from node.files.removal import remove_tree
from tests.fakes.hostile import pod as hostile_pod


def open_files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def few_descriptors() -> Iterator[None]:
    """At most 30 more files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory that a container has written to."""
    made = tmp_path / "top"
    made.mkdir()
    return made


def test_a_tree_deeper_than_stack_descriptors_and_paths_is_removed(top: Path) -> None:
    hostile_pod.nest(top, 3000)
    before = open_files()
    with few_descriptors():
        assert remove_tree(top)
    assert not top.exists()
    assert open_files() == before


def test_links_go_themselves_and_nothing_outside_is_touched(top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("kept")
    hostile_pod.litter(top, outside)
    assert remove_tree(top)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "keep").read_text() == "kept"


def test_a_link_or_a_file_in_the_place_of_the_directory_goes_itself(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "file", "fifo", "nothing"):
        assert remove_tree(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "keep").exists()


def test_what_is_immutable_is_removed_too(top: Path) -> None:
    (top / "dir").mkdir()
    (top / "dir" / "file").touch()
    try:
        hostile_pod.make_immutable(top / "dir" / "file")
        hostile_pod.make_immutable(top / "dir")
    except OSError as error:
        pytest.skip(f"immutable files cannot be made here: {error}")
    assert remove_tree(top)
    assert not top.exists()


def test_large_trees_take_several_turns(top: Path) -> None:
    for name in ("a", "b"):
        (top / name).mkdir()
        for number in range(10):
            (top / name / str(number)).touch()
    turns = 1
    while not remove_tree(top, entries_max=5):
        turns += 1
    assert turns == 5
    assert not top.exists()


def test_a_directory_that_is_moved_meanwhile_leads_nowhere(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that survived its pod moves the directory that is being emptied to another place:
    what is beside it there is not what is to be removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "keep").touch()
    (top / "d").mkdir()
    (top / "d" / "file").touch()
    real = os.unlink

    def move_then_unlink(name: str, *, dir_fd: int) -> None:
        (top / "d").rename(elsewhere / "d")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(removal.os, "unlink", move_then_unlink)
    with pytest.raises(OSError, match="moved") as raised:
        remove_tree(top)
    assert raised.value.errno == errno.EBUSY
    assert (elsewhere / "keep").exists()
