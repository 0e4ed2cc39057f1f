"""Runs a program for a person: one line instead of a traceback, and the exit codes of a shell.

if __name__ == "__main__":
    run(main, __doc__)
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from common.api.errors import StatusError
from common.client.grpcerrors import status_error
from common.client.https import ConnectionFailed
from common.runtime.reasons import reason

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ends."""
PIPE_CLOSED = 141
"""The exit code of a program that SIGPIPE ends."""


def run(main: Callable[..., Coroutine[Any, Any, None]], usage: str | None) -> None:
    """Run `main` with the words of the command line; with others than it takes, print `usage`."""
    words = sys.argv[1:]
    if "-h" in words or "--help" in words:
        sys.stdout.write(f"{usage}\n")
        return
    try:
        inspect.signature(main).bind(*words)
    except TypeError:
        sys.exit(usage)
    guarded(lambda: asyncio.run(main(*words)))


def guarded(call: Callable[[], None], before: str = "") -> None:
    """Call it. What goes wrong ends the program with one line, that has `before` in front."""
    try:
        call()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        first = _first(error)
        if isinstance(first, BrokenPipeError):  # whoever reads, like `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(PIPE_CLOSED)
        text = _explained(first)
        if text is None:
            raise
        sys.exit(f"{before}{text}")


def _first(error: Exception) -> Exception:
    """The error itself; of a group of tasks, the first that failed."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _explained(error: Exception) -> str | None:
    """One line about what is wrong outside of the program; None: the program is."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = status_error(error)
    if isinstance(error, ConnectionFailed | StatusError):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"{error.filename}: {reason(error)}" if error.filename else reason(error)
    return None
