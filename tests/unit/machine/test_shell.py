"""The shell around the installer: what it refuses, and where it puts programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = "; ".join(
    f"source deploy/lib/{part}.sh" for part in ("common", "environment", "install", "real")
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of the checkout, to its end."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_does_nothing_else(word: str) -> None:
    done = run("deploy/install", "master", word)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: deploy/install master")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what this machine is to be: master or node"),
        (["server"], "say what this machine is to be: master or node"),
        (["master", "--wheelhouse"], "--wheelhouse needs a directory"),
    ],
)
def test_what_is_not_understood_is_told_with_the_usage(arguments: list[str], said: str) -> None:
    done = run("deploy/install", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"deploy/install: {said}\nUsage: ")


def test_an_uninstall_takes_nothing_but_purge() -> None:
    done = run("deploy/uninstall", "everything")
    assert done.returncode == 2
    assert "deploy/uninstall: error: unrecognized arguments: everything" in done.stderr


def place(wheelhouse: Path) -> subprocess.CompletedProcess[str]:
    """Where the programs of a directory of wheels go."""
    return run("bash", "-euc", f"{LIBRARY}; programs_place '{wheelhouse}'")


def test_each_build_has_a_directory_of_its_own(tmp_path: Path) -> None:
    wheel = tmp_path / "wherry-0.2.0-py3-none-any.whl"
    (tmp_path / "other-3.0-py3-none-any.whl").write_text("")
    seen = set()
    for content in ("one", "two"):
        wheel.write_text(content)
        found = place(tmp_path).stdout.strip()
        assert found.startswith("/opt/wherry/0.2.0-")
        seen.add(found)
    assert len(seen) == 2


def test_a_directory_without_a_wheel_is_named(tmp_path: Path) -> None:
    done = place(tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(f"{tmp_path} holds no wheel of Wherry: make wheelhouse\n")


class Versions:
    """Two versions side by side, whose installers do what a test says and note that they ran."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self, name: str, script: str) -> None:
        """A version. Its installer links `current` to it, then does this."""
        python = self.directory / name / "bin/python"
        python.parent.mkdir(parents=True)
        link = f"ln -sfn {self.directory}/{name} {self.directory}/current"
        note = f'echo "{name} $*" >> {self.directory}/ran'
        python.write_text(f"#!/bin/sh\n{note}\n{script.replace('LINK', link)}\n")
        python.chmod(0o755)

    def switch(self) -> subprocess.CompletedProcess[str]:
        """From old to new."""
        (self.directory / "current").symlink_to(self.directory / "old")
        return run(
            "bash",
            "-euc",
            f"PROGRAM=deploy/install; {LIBRARY}; PROGRAMS={self.directory}; "
            f"programs_run {self.directory}/old {self.directory}/new node",
        )

    @property
    def current(self) -> str:
        """The version that runs."""
        return (self.directory / "current").readlink().name

    @property
    def ran(self) -> list[str]:
        """Whose installers ran, and for what."""
        lines = (line.split() for line in (self.directory / "ran").read_text().splitlines())
        return [f"{words[0]} {words[4]}" for words in lines]


@pytest.mark.parametrize(
    ("new", "code", "current", "ran"),
    [
        ("LINK", 0, "new", ["new install", "new prune"]),
        ("LINK; exit 1", 1, "old", ["new install", "old install"]),
        ("exit 1", 1, "old", ["new install"]),
        ("LINK; exit 130", 130, "new", ["new install"]),
    ],
    ids=["ready", "not-ready", "refused", "interrupted"],
)
def test_a_version_that_does_not_get_ready_makes_way_for_the_former(
    new: str, code: int, current: str, ran: list[str], tmp_path: Path
) -> None:
    versions = Versions(tmp_path)
    versions.make("new", new)
    versions.make("old", "LINK")
    done = versions.switch()
    assert (done.returncode, versions.current, versions.ran) == (code, current, ran)
    told = f"deploy/install: {tmp_path}/new did not get ready: {tmp_path}/old runs again\n"
    assert done.stderr == (told if current == "old" and len(ran) == 2 else "")


def test_that_neither_version_gets_ready_is_told(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.make("new", "LINK; exit 1")
    versions.make("old", "LINK; exit 1")
    done = versions.switch()
    assert done.stderr.endswith(f"new did not get ready, and neither did {tmp_path}/old\n")


@pytest.mark.parametrize("broken", ["", "wherry-kubelet"])
def test_programs_that_cannot_start_are_not_installed(broken: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("wherry", "wherry-master", "wherry-kubelet", "wherry-kube-proxy"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n[ {name} != '{broken}' ]\n")
        program.chmod(0o755)
    done = run("bash", "-euc", f"{LIBRARY}; programs_prove {tmp_path}")
    assert done.returncode == (1 if broken else 0)
