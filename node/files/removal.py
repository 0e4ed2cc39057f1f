"""Removes what containers made: any depth, any names, never outside, whoever holds on to it.

No recursion and no path: one directory is open at a time, entries are named relative to it, links
are removed and never followed, and the way back up is checked. So neither the depth of a tree nor
the length of its paths matters, and its memory is a number a level.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from array import array
from pathlib import Path

from node.files.mounts import unmount_below

SLICE_ENTRIES = 50_000
"""What one call removes at the most: the rest is for a later one, after others had their turn."""
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_UNCHANGEABLE = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL: even root removes nothing that has them."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def remove_tree(path: Path, entries_max: int = SLICE_ENTRIES) -> bool:
    """Remove a directory with everything in and mounted on it; a link in its place goes itself.

    Answers whether nothing is left; False after `entries_max` entries. What is not there is no
    error. Raises OSError where the kernel refuses. Blocking.
    """
    while (top := _open(path)) is not None:
        walk = _Walk(top, entries_max)
        try:
            unmount_below(path)
            if not walk.run():
                return False
            path.rmdir()
        except FileNotFoundError:
            continue  # another removal is faster: look again
        finally:
            os.close(walk.descriptor)
    return True


def _open(path: Path) -> int | None:
    """The directory, or None when there is nothing, or no longer: what is none is removed."""
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        path.unlink(missing_ok=True)
        return None


class _Walk:
    """A way down and up through one tree, with one open directory: `descriptor`."""

    def __init__(self, top: int, entries_max: int) -> None:
        self.descriptor = top
        self._left = entries_max
        self._device = os.fstat(top).st_dev
        self._above = array("Q")
        """The inodes of the directories above, the top first."""

    def run(self) -> bool:
        """Empty the top; False when the bound was reached before."""
        while self._left > 0:
            full = self._clear()
            if full is not None:
                self._go(full, os.fstat(self.descriptor).st_ino)
            elif self._above and self._left > 0:
                self._go_up()
            else:
                return self._left > 0
        return False

    def _clear(self) -> str | None:
        """Remove files and empty directories here; answers the first that is not empty."""
        with os.scandir(self.descriptor) as entries:
            for entry in entries:
                if self._left <= 0:
                    return None
                if not self._remove(entry):
                    return entry.name
                self._left -= 1
        return None

    def _remove(self, entry: os.DirEntry[str]) -> bool:
        """Remove one entry; False for a directory that is not empty."""
        is_directory = entry.is_dir(follow_symlinks=False)
        remove = os.rmdir if is_directory else os.unlink
        try:
            try:
                remove(entry.name, dir_fd=self.descriptor)
            except PermissionError:
                _make_changeable(self.descriptor)
                _make_entry_changeable(self.descriptor, entry.name)
                remove(entry.name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return True
        except OSError as error:
            if is_directory and error.errno == errno.ENOTEMPTY:
                return False
            raise
        return True

    def _go(self, name: str, inode: int) -> None:
        below = os.open(name, _DIRECTORY, dir_fd=self.descriptor)
        self._above.append(inode)
        self._take(below)

    def _go_up(self) -> None:
        """To the directory that the way down came through, or nowhere."""
        above = os.open("..", _DIRECTORY, dir_fd=self.descriptor)
        expected = self._above.pop()
        info = os.fstat(above)
        self._take(above)
        if (info.st_ino, info.st_dev) != (expected, self._device):
            raise OSError(errno.EBUSY, "a directory was moved while it was removed")

    def _take(self, descriptor: int) -> None:
        os.close(self.descriptor)
        self.descriptor = descriptor
        if os.fstat(descriptor).st_dev != self._device:
            raise OSError(errno.EBUSY, "something is mounted in what is to be removed")


def _make_entry_changeable(parent: int, name: str) -> None:
    """Only directories and plain files carry such flags; opening anything else may do something."""
    mode = os.lstat(name, dir_fd=parent).st_mode
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
        descriptor = os.open(name, _PLAIN, dir_fd=parent)
        try:
            _make_changeable(descriptor)
        finally:
            os.close(descriptor)


def _make_changeable(descriptor: int) -> None:
    """Take the flags off; a file system without flags has refused for another reason."""
    try:
        data = fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0))
        flags = struct.unpack("l", data)[0]
        if flags & _UNCHANGEABLE:
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags & ~_UNCHANGEABLE))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM):
            raise
