"""Bundles of other versions than this checkout's, made from one of this checkout."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deploy.bundle import contents


def other_version(
    bundle: Path, version: str, directory: Path, changes: Mapping[str, str] | None = None
) -> Path:
    """A bundle whose wheel is of this version, with these files of it replaced; without packages of
    the distribution, which are there after the first install."""
    work = directory / version
    work.mkdir()
    subprocess.run(["tar", "-C", work, "--exclude=*/debs/*", "-xzf", bundle], check=True)
    (tree,) = work.iterdir()
    (wheel,) = (tree / "wheels").glob("wherry-*.whl")
    own = wheel.name.split("-")[1]
    rewrite(wheel, wheel.with_name(wheel.name.replace(own, version)), (own, version), changes or {})
    wheel.unlink()
    tree = tree.rename(tree.with_name(tree.name.replace(own, version)))
    archive = directory / f"{tree.name}.tar.gz"
    contents.packed(tree, archive)
    return archive


def rewrite(
    wheel: Path, other: Path, versions: tuple[str, str], changes: Mapping[str, str]
) -> None:
    """Make another wheel of one. Its RECORD has no sums: pip makes its own when it installs."""
    old, new = versions
    names = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            name = name.replace(f"wherry-{old}.dist-info", f"wherry-{new}.dist-info")
            if name.endswith("dist-info/METADATA"):
                content = content.replace(f"Version: {old}".encode(), f"Version: {new}".encode(), 1)
            if not name.endswith("dist-info/RECORD"):
                names.append(name)
                target.writestr(name, changes.get(name, content))
        record = f"wherry-{new}.dist-info/RECORD"
        target.writestr(record, "".join(f"{name},,\n" for name in [*names, record]))
