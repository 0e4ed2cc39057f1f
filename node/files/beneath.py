"""Opens and makes paths below a directory that containers may write to, and never outside of it.

The kernel itself follows the path and refuses to leave the directory, whatever links there are and
however they change meanwhile (openat2, Linux 5.6): looking first and opening then would be too late
(CVE-2017-1002101, CVE-2021-25741).
"""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

_OPENAT2 = 437
_BENEATH, _NO_MAGICLINKS = 0x08, 0x02
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(root: int, path: str, flags: int = os.O_PATH) -> int:
    """A descriptor of what is at a path below an open directory.

    Raises OSError: FileNotFoundError; EXDEV for a path that leads outside.
    """
    how = _How(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_MAGICLINKS)
    descriptor = _libc.syscall(
        _OPENAT2,
        ctypes.c_int(root),
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(descriptor)


def made_beneath(directory: Path, path: str) -> int:
    """A descriptor of what is at a path below a directory; directories that are missing are made.

    They get the mode and the group of the directory. Raises OSError.
    """
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for depth in range(1, len(parts)):
            os.close(_directory(root, "/".join(parts[:depth])))
        try:
            return open_beneath(root, path or ".")
        except FileNotFoundError:
            return _directory(root, "/".join(parts))
    finally:
        os.close(root)


def _directory(root: int, path: str) -> int:
    """A descriptor of a directory below another, which is made if nothing is there."""
    try:
        return open_beneath(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    parent, _, name = path.rpartition("/")
    above = open_beneath(root, parent or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.mkdir(name, dir_fd=above)
    except FileExistsError:
        pass  # two containers of a pod may want the same one
    finally:
        os.close(above)
    _take_after(root, path)
    return open_beneath(root, path, os.O_PATH | os.O_DIRECTORY)


def _take_after(root: int, path: str) -> None:
    model = os.fstat(root)
    made = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchown(made, -1, model.st_gid)
        os.fchmod(made, stat.S_IMODE(model.st_mode))
    finally:
        os.close(made)
