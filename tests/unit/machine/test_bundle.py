"""A bundle is whole or refused, tells apt what it needs, and is the same from the same files."""

from __future__ import annotations

import filecmp
import hashlib
import os
import random
import subprocess
from pathlib import Path

import pytest

from common.preflight.probe import PACKAGES
from deploy.bundle import contents

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A bundle's directory, with the true installer and wheels that are none."""
    place = tmp_path / "wherry-0.1.0-amd64"
    for name in contents.INSTALLER:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes((ROOT / name).read_bytes())
        (place / name).chmod((ROOT / name).stat().st_mode)
    (place / "wheels").mkdir()
    (place / "wheels/wherry-0.1.0-py3-none-any.whl").write_bytes(random.Random(1).randbytes(5000))
    (place / "wheels/other-1.0-py3-none-any.whl").write_bytes(random.Random(2).randbytes(5000))
    return place


def refusal(place: Path) -> str:
    """What the installer of a bundle says, which ends at once."""
    done = subprocess.run(
        [place / "deploy/install", "master"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_changed_file_is_named(tree: Path, tmp_path: Path) -> None:
    contents.packed(tree, tmp_path / "bundle.tar.gz")
    wheel = tree / "wheels/other-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"?")
    assert refusal(tree) == (
        "deploy/install: this bundle is not whole (wheels/other-1.0-py3-none-any.whl: FAILED):"
        " copy it again and unpack it in a new place"
    )


def test_wherever_it_was_cut_it_is_refused(tree: Path, tmp_path: Path) -> None:
    """As long as the installer can say so; of a shorter archive tar tells alone."""
    archive = tmp_path / "bundle.tar.gz"
    contents.packed(tree, archive)
    whole, refused = archive.read_bytes(), 0
    for number, size in enumerate(range(len(whole) // 4, len(whole) * 9 // 10, len(whole) // 20)):
        place = tmp_path / f"cut{number}"
        place.mkdir()
        done = subprocess.run(["tar", "-C", place, "-xz"], input=whole[:size], capture_output=True)
        assert done.returncode != 0
        parts = place / tree.name
        if filecmp.cmp(tree / "deploy/install", parts / "deploy/install"):
            assert "this bundle is not whole (" in refusal(parts)
            refused += 1
    assert refused >= 5


def test_the_same_files_make_the_same_archive(tree: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.tar.gz", tmp_path / "other.tar.gz"
    contents.packed(tree, one)
    os.utime(tree / "deploy/install", (1, 1))
    contents.packed(tree, other)
    assert one.read_bytes() == other.read_bytes()


def test_apt_is_asked_for_all_that_an_install_may_ask_for() -> None:
    listed = contents.packages()
    assert {"etcd-server", "podman", "python3-venv"} <= set(listed)
    assert {package for role in PACKAGES.values() for package in role.values()} <= set(listed)


def test_the_index_tells_apt_where_and_what_a_file_is() -> None:
    found = contents.stanza("Package: a\nVersion: 1\n", "a_1_all.deb", b"content")
    assert found == (
        "Package: a\nVersion: 1\nFilename: ./a_1_all.deb\nSize: 7\n"
        f"SHA256: {hashlib.sha256(b'content').hexdigest()}\n\n"
    )


def test_the_apt_of_a_bundle_knows_nothing_of_this_machine(tmp_path: Path) -> None:
    """Neither what is installed on it, nor its sources: apt itself says so."""
    (tmp_path / "apt.conf").write_text(contents.apt_settings(tmp_path))
    shown = subprocess.check_output(
        [
            "apt-config",
            "shell",
            "STATUS",
            "Dir::State::status/f",
            "PARTS",
            "Dir::Etc::sourceparts/f",
        ],
        env=os.environ | {"APT_CONFIG": str(tmp_path / "apt.conf")},
        text=True,
    )
    assert shown.split() == [f"STATUS='{tmp_path}/status'", "PARTS='/dev/null'"]


def test_a_release_comes_with_its_updates() -> None:
    suites = [line.split()[3] for line in contents.sources("trixie").splitlines()]
    assert suites == ["trixie", "trixie-updates", "trixie-security"]
