"""What a directory takes of a disk, whatever a container has made of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.files import usage
from node.files.removal import remove_tree
from node.files.usage import used_bytes
from tests.fakes.hostile import pod as hostile_pod

MIB = 1 << 20


def write(path: Path, size: int) -> None:
    """A file whose blocks are on the disk."""
    with path.open("wb") as file:
        file.write(bytes(size))
        os.fsync(file.fileno())


def test_blocks_count_and_holes_do_not(tmp_path: Path) -> None:
    write(tmp_path / "full", 3 * MIB)
    os.link(tmp_path / "full", tmp_path / "again")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    found = used_bytes(tmp_path)
    assert found is not None
    assert 3 * MIB <= found < 4 * MIB


def test_depth_and_names_do_not_matter_and_nothing_outside_counts(tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    for directory in (top, outside):
        directory.mkdir()
    write(outside / "big", 20 * MIB)
    hostile_pod.nest(top, 3000)
    hostile_pod.litter(top, outside)
    found = used_bytes(top)
    assert remove_tree(top)
    assert found is not None
    assert 0 < found < 20 * MIB


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert used_bytes(tmp_path / "gone") is None


def test_what_takes_too_long_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_COUNT", ("sh", "-c", "sleep 60; echo 5 x"))
    monkeypatch.setattr(usage, "SECONDS_MAX", 0.05)
    assert used_bytes(tmp_path) is None
