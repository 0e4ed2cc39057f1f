"""What `make bundle` runs: asks pip and apt for everything, and packs it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.bundle import contents

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Entry point of `python -m deploy.bundle`."""
    parser = argparse.ArgumentParser(prog="make bundle", allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIRECTORY")
    parser.add_argument(
        "releases",
        nargs="*",
        default=sorted(contents.PYTHONS),
        metavar="RELEASE",
        help=f"of Debian: {', '.join(sorted(contents.PYTHONS))}; all of them by default",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.releases) - set(contents.PYTHONS)
    if unknown:
        parser.error(f"no bundle is made for {', '.join(sorted(unknown))}")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="wherry-bundle-") as work:
            archive = make(Path(work), out.resolve(), arguments.releases)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"make bundle: {error}")
    say(f"{archive}: {archive.stat().st_size // 2**20} MiB")


def make(work: Path, out: Path, releases: Sequence[str]) -> Path:
    """The archive with everything for these releases."""
    tree = work / "tree"
    for name in contents.INSTALLER:
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place)
    shutil.copytree(
        ROOT / contents.PLAYBOOKS,
        tree / contents.PLAYBOOKS,
        ignore=shutil.ignore_patterns("inventory.yml", "__pycache__"),
    )
    say("Wherry and what it needs, from the package index")
    wheel = _wheels(tree / "wheels", [contents.PYTHONS[each] for each in releases])
    for release in releases:
        say(f"packages of {release}")
        _debs(work / release, tree / "debs" / release, release)
    processor = _said("dpkg", "--print-architecture").strip()
    tree = tree.rename(work / f"wherry-{wheel.name.split('-')[1]}-{processor}")
    archive = out / f"{tree.name}.tar.gz"
    contents.packed(tree, archive)
    return archive


def _wheels(place: Path, pythons: Sequence[str]) -> Path:
    """Put all wheels there; answers Wherry's."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    shutil.rmtree(ROOT / "build/lib", ignore_errors=True)  # an earlier build would be in it, too
    _said(*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(ROOT))
    (wheel,) = place.glob("wherry-*.whl")
    for version in pythons:
        options = ("--only-binary=:all:", "--python-version", version, "--dest", str(place))
        _said(*pip, "download", *options, str(wheel))
    return wheel


def _debs(work: Path, place: Path, release: str) -> None:
    """Put the packages of a release there, and their index."""
    for each in (work / "lists/partial", work / "cache/archives/partial", place):
        each.mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(contents.sources(release))
    settings = work / "apt.conf"
    settings.write_text(contents.apt_settings(work))
    _said("apt-get", "--quiet", "update", APT_CONFIG=str(settings))
    options = ("--quiet", "--yes", "--download-only")
    _said("apt-get", *options, "install", *contents.packages(), APT_CONFIG=str(settings))
    index = ""
    for package in sorted((work / "cache/archives").glob("*.deb")):
        name = package.name.replace("%3a", "_")
        index += contents.stanza(
            _said("dpkg-deb", "--field", str(package)), name, package.read_bytes()
        )
        shutil.move(package, place / name)
    (place / "Packages").write_text(index)


def say(text: str) -> None:
    """Tell the developer."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _said(*command: str, **settings: str) -> str:
    """What a program prints; its complaints go to the terminal. Raises CalledProcessError."""
    done = subprocess.run(
        command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
