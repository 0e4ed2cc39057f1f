"""A hostile container: what it leaves in a directory that it may write to, and what it runs.

The scripts are for a shell and busybox, as any user, with an empty directory at /v.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path

NAMES = ("a b", "tab\there", "line\nend", "-rf", "*", "\\040", "..data", "x" * 255, "\udcff\udcfe")
_SET_FLAGS, _IMMUTABLE = 0x40086602, 0x10

NESTS = """
p=d; i=1; while [ $i -lt 2000 ]; do p=$p/d; i=$((i+1)); done
cd /v; mkdir -p $p; cd /tmp; mkdir -p $p; cd /
"""
"""2 000 directories in each other, in a volume and in its own root."""
FILLS = "cat /dev/zero > /etc/hosts; cat /dev/zero > /etc/resolv.conf; cat /dev/zero > /dev/shm/x\n"
"""As much as goes into everything that is not on its disk."""
FLOODS = """
head -c 20000000 /dev/zero; echo
head -c 20000000 /dev/zero | tr '\\000' 'x'; echo
"""
"""40 MB of two lines, one of them binary."""
FORKS = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done\n"
"""More processes than a limit of less than 60 gives it."""


def nest(directory: Path, depth: int) -> None:
    """Directories in each other, deeper than any path may be long, with a file in the last."""
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def litter(directory: Path, outside: Path) -> None:
    """Links to what is outside, files that block whoever opens them, names that confuse."""
    (directory / "link").symlink_to(outside)
    (directory / "loop").symlink_to("loop")
    (directory / "root").symlink_to("/")
    os.mkfifo(directory / "fifo")
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)  # its path may be too long
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as end:
        end.bind(f"/proc/self/fd/{descriptor}/socket")
    os.close(descriptor)
    for name in NAMES:
        (directory / name).mkdir()
        (directory / name / name).write_text("x")
    closed = directory / "closed"
    closed.mkdir()
    (closed / "file").touch(mode=0)
    closed.chmod(0)


def make_immutable(path: Path) -> None:
    """As `chattr +i` does; raises OSError where that is not allowed or not known."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", _IMMUTABLE))
    finally:
        os.close(descriptor)
