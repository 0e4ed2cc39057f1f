"""What a process is to its machine: its title, and its death with its parent.

Run as a program, this file is the launcher of a child that must not outlive its parent. It
imports next to nothing then, so that it costs no noticeable time.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence

DESCRIPTORS_MAX = 65_536
_PR_SET_PDEATHSIG = 1


def raise_descriptor_limit() -> int:
    """Let this process have as many open files as the system allows it; answers how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def set_title(title: str) -> None:
    """Show `title` in ps and top."""
    import setproctitle

    setproctitle.setproctitle(title)


def bound_to_parent(command: Sequence[str]) -> list[str]:
    """`command` in a form that is killed by the kernel when this process dies, even by kill -9.

    The kernel watches the *thread* that starts the child: start it from the main thread. A
    launcher sets the signal and becomes the command, since Python code between fork and exec
    is not safe in a process with threads. The child sees the same pid and the same arguments.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _launch(parent: int, command: Sequence[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    os.execvp(command[0], list(command))  # noqa: S606 - a fixed program, no shell


if __name__ == "__main__":
    _launch(int(sys.argv[1]), sys.argv[2:])
