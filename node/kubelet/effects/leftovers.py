"""Finds directories of pods: what is left when a kubelet dies while it removes a pod."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node.runtime.base import POD_UID

UNKNOWN_POD = ("", "")
Leftovers = Mapping[str, tuple[str, str]]
"""Pod UID -> (namespace, name), or UNKNOWN_POD where no log tells them."""


def find(pods_dir: Path, log_root: str) -> Leftovers:
    """Every pod that has a directory; a name that is no UID is not ours. Blocking."""
    leftovers = [
        directory.name
        for directory in pods_dir.glob("*")
        if POD_UID.fullmatch(directory.name) and directory.is_dir() and not directory.is_symlink()
    ]
    names = {}
    for logs in Path(log_root).glob("*_*_*"):
        namespace, name, uid = logs.name.rsplit("_", 2)
        names[uid] = (namespace, name)
    return {uid: names.get(uid, UNKNOWN_POD) for uid in leftovers}
