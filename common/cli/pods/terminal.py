"""The terminal that a command of a pod is shown on, and what is typed or piped into it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

READ_BYTES = 32 << 10


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the program, Ctrl-C too, until the end of the block."""
    former = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, former)


async def typed(descriptor: int) -> AsyncIterator[bytes]:
    """What comes from a terminal, a pipe or a file, until its end.

    A read that waited in a thread could not be given up when the command ends first.
    """
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a file, or /dev/null: the kernel has nothing to wait for
        while data := os.read(descriptor, READ_BYTES):
            yield data
        return
    try:
        while True:
            await ready.wait()
            ready.clear()
            data = os.read(descriptor, READ_BYTES)
            if not data:
                return
            yield data
    finally:
        loop.remove_reader(descriptor)


@contextmanager
def sizes(tell: Callable[[int, int], None]) -> Iterator[None]:
    """`tell` gets the width and height of the terminal of stdout, now and when it changes."""

    def changed() -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        tell(size.columns, size.lines)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed)
    try:
        changed()
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
