"""Mounts of our own, by system calls: no program is started, and no link is followed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/thread-self/mountinfo")
_NOSUID, _NODEV, _NOEXEC = 0x2, 0x4, 0x8
_DETACH, _NOFOLLOW = 0x2, 0x8
_BIND = 0x1000
_ESCAPE = re.compile(r"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(directory: Path, options: str, *, data_only: bool = False) -> None:
    """Mount memory; `data_only` is without devices and programs. Raises OSError."""
    flags = _NOSUID | _NODEV | _NOEXEC if data_only else 0
    target = os.fsencode(directory)
    if _libc.mount(b"tmpfs", target, b"tmpfs", ctypes.c_ulong(flags), options.encode()) != 0:
        raise _last_error(directory)


def bind(descriptor: int, target: Path) -> None:
    """Mount what a descriptor is of at a place; it may be renamed or replaced meanwhile.

    Raises OSError.
    """
    source = f"/proc/self/fd/{descriptor}".encode()
    if _libc.mount(source, os.fsencode(target), None, ctypes.c_ulong(_BIND), None) != 0:
        raise _last_error(target)


def points() -> frozenset[str]:
    """Where something is mounted, as this thread sees it."""
    return frozenset(_points())


def _points() -> list[str]:
    with MOUNTINFO.open(errors="surrogateescape") as file:
        return [_plain(line.split(" ", 5)[4]) for line in file]


def _plain(text: str) -> str:
    """A path as it is: the kernel writes blanks, tabs, line ends and backslashes in octal."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def unmount_below(directory: Path) -> None:
    """Unmount everything below a directory, also what containers have mounted there.

    What is used still goes from sight now, and for good with its last user. Two may do so at once.
    Raises OSError.
    """
    # The kernel names mounts by where they really are; a data directory may be a link.
    prefix = f"{directory.parent.resolve() / directory.name}/"
    while below := [point for point in _points() if point.startswith(prefix)]:
        # A mount takes what is mounted below it along; of several at one place the last goes first.
        _unmount(Path(min(below, key=len)))


def _unmount(point: Path) -> None:
    if _libc.umount2(os.fsencode(point), _DETACH | _NOFOLLOW) == 0:
        return
    error = _last_error(point)
    # Another removal was faster: no mount point any more, or gone itself.
    if error.errno not in (errno.EINVAL, errno.ENOENT) or str(point) in points():
        raise error


def _last_error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))
