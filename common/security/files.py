"""Files that nobody else may read: they never exist with a wider mode, not even for an instant."""

import os
import stat
import tempfile
from pathlib import Path

PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700


class InsecurePath(Exception):
    """A directory for private files is open to others; the message names it and its mode."""


def write_private(path: Path, data: bytes) -> None:
    """Put `data` at `path` with mode 0600, whatever the umask: whole, or not at all.

    The data is on disk when this returns. A file that was there is replaced and keeps its owner:
    what root writes for a service, that can read.
    """
    # mkstemp opens with O_EXCL and 0600; the umask can only take bits away.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_FILE_MODE)
            _keep_owner(file.fileno(), path)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _keep_owner(descriptor: int, path: Path) -> None:
    """Only root can; for everybody else the owner is the same, or the directory not theirs."""
    try:
        former = path.lstat()
    except FileNotFoundError:
        return
    if os.geteuid() == 0 and stat.S_ISREG(former.st_mode):
        os.fchown(descriptor, former.st_uid, former.st_gid)


def make_private_directory(path: Path) -> None:
    """Make `path`, and what is missing above it, with mode 0700.

    Raises InsecurePath when `path` is there already and others may use it.
    """
    if not path.is_dir():
        if not path.parent.is_dir():
            make_private_directory(path.parent)
        path.mkdir(PRIVATE_DIRECTORY_MODE)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise InsecurePath(f"{path} is not a directory of this user")
    if info.st_mode & 0o077:
        mode = stat.S_IMODE(info.st_mode)
        raise InsecurePath(f"{path} has mode {mode:04o}; others must have no access (0700)")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
