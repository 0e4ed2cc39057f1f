"""Archives from pods: nothing is written outside of the place that the user has named."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from common.cli.pods.cp import unpack


def archive(*entries: tarfile.TarInfo) -> io.BytesIO:
    """An archive whose files say `x`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for entry in entries:
            entry.size = 1 if entry.isreg() else 0
            file.addfile(entry, io.BytesIO(b"x") if entry.isreg() else None)
    made.seek(0)
    return made


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_the_first_part_of_each_name_stands_for_the_place(tmp_path: Path) -> None:
    target = tmp_path / "target"
    directory = entry("top", tarfile.DIRTYPE)
    assert unpack(archive(directory, entry("top/a"), entry("top/b/c")), target) == []
    assert (target / "a").read_text() == (target / "b/c").read_text() == "x"
    assert unpack(archive(entry("file")), tmp_path / "alone") == []
    assert (tmp_path / "alone").read_text() == "x"


@pytest.mark.parametrize(
    "bad",
    [
        entry("top/../../outside"),
        entry("top/../outside"),
        entry("top//outside"),
        entry("top/link", tarfile.SYMTYPE, "/etc"),
        entry("top/link", tarfile.LNKTYPE, "top/a"),
        entry("top/pipe", tarfile.FIFOTYPE),
        entry("top/device", tarfile.CHRTYPE),
    ],
    ids=lambda one: f"{one.name} {one.type.decode()}",
)
def test_what_leads_elsewhere_is_left_out(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    target = tmp_path / "in/target"
    target.mkdir(parents=True)
    assert unpack(archive(entry("top/a"), bad, entry("top/b")), target) == [bad.name]
    assert sorted(path.name for path in target.iterdir()) == ["a", "b"]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_an_absolute_name_is_written_to_the_place(tmp_path: Path) -> None:
    """Its first part is empty."""
    unpack(archive(entry("/outside")), tmp_path / "target")
    assert (tmp_path / "target/outside").read_text() == "x"


def test_a_link_that_came_first_leads_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    link = entry("top/link", tarfile.SYMTYPE, str(tmp_path / "own"))
    assert unpack(archive(link, entry("top/link/file")), tmp_path / "target") == ["top/link"]
    assert list((tmp_path / "own").iterdir()) == []
    assert (tmp_path / "target/link/file").read_text() == "x"


@pytest.mark.parametrize("junk", [b"no archive", bytes(range(256)) * 8])
def test_junk_is_told(tmp_path: Path, junk: bytes) -> None:
    with pytest.raises(OSError, match="the pod has sent no archive"):
        unpack(io.BytesIO(junk), tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_name_that_no_file_can_have_is_left_out(tmp_path: Path) -> None:
    """Only extended headers can say it."""
    bad = entry("top/a")
    bad.pax_headers = {"path": "top/a\0b"}
    assert unpack(archive(bad, entry("top/c")), tmp_path / "target") == ["top/a\0b"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["c"]
