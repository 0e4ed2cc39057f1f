"""Paths below a directory that containers write to: made where they are missing, never outside."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.files.beneath import made_beneath

ROUNDS = 3000
AT_FDCWD, RENAME_EXCHANGE = -100, 2
ESCAPES = (errno.EXDEV, errno.ELOOP)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("k")
    return made


@contextmanager
def opened(volume: Path, path: str) -> Iterator[Path]:
    """Where what was opened is on this machine."""
    descriptor = made_beneath(volume, path)
    try:
        yield Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["a", "a/b/c", "a/./b//c/", "a/link"])
def test_what_is_there_is_found_and_what_is_missing_is_made(volume: Path, path: str) -> None:
    volume.chmod(0o770)
    (volume / "a").mkdir()
    (volume / "a").chmod(0o700)
    (volume / "a/link").symlink_to("..")
    with opened(volume, path) as place:
        assert place.is_dir()
        assert volume == place or volume in place.parents
    assert stat.S_IMODE((volume / "a").stat().st_mode) == 0o700, "what was there is left alone"


def test_new_directories_have_the_mode_of_the_volume(volume: Path) -> None:
    volume.chmod(0o2777)
    with opened(volume, "a/b"):
        for made in (volume / "a", volume / "a/b"):
            assert stat.S_IMODE(made.stat().st_mode) == 0o2777


def test_a_file_is_found(volume: Path) -> None:
    (volume / "..data").mkdir()
    (volume / "..data/file").write_text("x")
    (volume / "file").symlink_to("..data/file")
    with opened(volume, "file") as place:
        assert place.read_text() == "x"


@pytest.mark.parametrize("link", ["../secret", "/etc", "/proc/self/cwd"])
@pytest.mark.parametrize("path", ["link", "link/key", "link/new", "a/up/link"])
def test_no_link_leads_outside(volume: Path, link: str, path: str) -> None:
    (volume / "link").symlink_to(link)
    (volume / "a").mkdir()
    (volume / "a/up").symlink_to("..")
    with pytest.raises(OSError, match=r".*") as raised:
        made_beneath(volume, path)
    assert raised.value.errno in ESCAPES
    assert not (volume.parent / "secret/new").exists()


def test_a_file_in_the_way_is_an_error(volume: Path) -> None:
    (volume / "file").touch()
    with pytest.raises(NotADirectoryError):
        made_beneath(volume, "file/below")


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(100 * ROUNDS, marks=pytest.mark.full)])
def test_a_link_that_changes_meanwhile_leads_nowhere_else(volume: Path, rounds: int) -> None:
    """Row F20: a container swaps a directory and a link to the outside, as fast as it can."""
    (volume / "place").mkdir()
    (volume / "link").symlink_to("../secret")
    done, libc = threading.Event(), ctypes.CDLL(None)
    names = os.fsencode(volume / "place"), os.fsencode(volume / "link")

    def swap() -> None:
        while not done.is_set():
            assert libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0

    swapping = threading.Thread(target=swap)
    swapping.start()
    made = refused = 0
    try:
        while made + refused < rounds or not (made and refused):
            try:
                os.close(made_beneath(volume, "place/new"))
                made += 1
            except OSError as error:
                assert error.errno in ESCAPES
                refused += 1
    finally:
        done.set()
        swapping.join()
    assert not (volume.parent / "secret/new").exists()
    assert [path.name for path in (volume.parent / "secret").iterdir()] == ["key"]
