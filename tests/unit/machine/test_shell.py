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
