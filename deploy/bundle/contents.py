"""What is in a bundle, and where. Pure, but for `packed`.

wherry-VERSION-PROCESSOR/SHA256SUMS          of all other files; the first in the archive
wherry-VERSION-PROCESSOR/deploy/...          the installer, the roles for Ansible
wherry-VERSION-PROCESSOR/wheels/*.whl        Wherry and what it needs, for each release's Python
wherry-VERSION-PROCESSOR/debs/RELEASE/...    distribution packages, with an index for apt
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.preflight.probe import PACKAGES

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's releases, and the Python of each."""
MIRROR = "http://deb.debian.org"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUMS = "SHA256SUMS"
INSTALLER = (
    "deploy/install",
    "deploy/uninstall",
    *(f"deploy/lib/{part}.sh" for part in ("common", "environment", "install", "real")),
)
PLAYBOOKS = "deploy/ansible"
"""The directory of what Ansible needs."""


def packages() -> list[str]:
    """The distribution packages that an install may ask for, in any role."""
    needed = {package for role in PACKAGES.values() for package in role.values()}
    return sorted(needed | {"python3-venv"})


def sources(release: str) -> str:
    """Where apt finds the packages of a release: with the updates that machines have."""
    suites = (
        ("debian", release),
        ("debian", f"{release}-updates"),
        ("debian-security", f"{release}-security"),
    )
    return "".join(f"deb [signed-by={KEYS}] {MIRROR}/{a} {suite} main\n" for a, suite in suites)


def apt_settings(place: Path) -> str:
    """The settings of an apt that has its state below a directory, and on whose machine nothing is
    installed. So it gets all that the packages depend on: what a machine has of it already, in
    which version, is that machine's apt to see."""
    settings = {
        "Dir::State": place,
        "Dir::State::Status": place / "status",
        "Dir::State::Lists": place / "lists",
        "Dir::Cache": place / "cache",
        "Dir::Etc::SourceList": place / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    return "".join(f'{key} "{value}";\n' for key, value in settings.items())


def stanza(control: str, name: str, content: bytes) -> str:
    """What apt's index says of a package: its own words, and where and what its file is."""
    lines = [
        control.strip(),
        f"Filename: ./{name}",
        f"Size: {len(content)}",
        f"SHA256: {hashlib.sha256(content).hexdigest()}",
    ]
    return "\n".join(lines) + "\n\n"


def sums(contents: Mapping[str, bytes]) -> str:
    """What `sha256sum --check` reads."""
    listed = sorted(contents.items())
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in listed)


def files(tree: Path) -> Iterable[str]:
    """The files below a directory, by their names from there, in order."""
    return sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file())


def packed(tree: Path, archive: Path) -> None:
    """Make the archive of a directory whose name is the bundle's: the sums first, so that whatever
    was cut off is missed. The same files make the same archive."""
    names = [name for name in files(tree) if name != SUMS]
    (tree / SUMS).write_text(sums({name: (tree / name).read_bytes() for name in names}))
    new = archive.with_name(f".{archive.name}.new")
    with (
        new.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name in (SUMS, *names):
            tar.add(tree / name, f"{tree.name}/{name}", filter=_anonymous)
    new.replace(archive)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member
