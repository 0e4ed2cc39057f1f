"""The wheel is all that a machine needs: programs, the installer, and the units."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_everything_that_is_installed(tmp_path: Path) -> None:
    """Built as an install builds it, from what is under version control."""
    tree, place = tmp_path / "tree", tmp_path / "dist"
    tree.mkdir()
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")[:-1]
    there = [file for file in files if (ROOT / file).exists()]
    subprocess.run(["cp", "--parents", "--target-directory", tree, *there], cwd=ROOT, check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", place, tree], check=True)
    (wheel,) = place.glob("wherry-*-py3-none-any.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    units = [path for path in (ROOT / "deploy/machine/units").rglob("*") if path.is_file()]
    assert units
    assert {str(path.relative_to(ROOT)) for path in units} <= held
    assert {"common/preflight/probe.py", "deploy/machine/__main__.py"} <= held
    assert not any(name.startswith(("tests/", "deploy/examples", "deploy/local")) for name in held)
    (scripts,) = (name for name in held if name.endswith("/entry_points.txt"))
    said = zipfile.ZipFile(wheel).read(scripts).decode()
    for program in (
        "wherry",
        "wherry-master",
        "wherry-kubelet",
        "wherry-kube-proxy",
        "wherry-uninstall",
    ):
        assert f"\n{program} = " in said
