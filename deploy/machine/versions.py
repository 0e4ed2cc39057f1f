"""Which versions of the programs stay on a machine: what somebody uses, or may go back to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from deploy.machine.steps import Executor, Remove
from deploy.machine.wanted import PROGRAMS

LINKS = (PROGRAMS, "/usr/local/bin")
"""Where links to programs are looked for."""


def remove_former(executor: Executor, kept: Iterable[str], say: Callable[[str], None]) -> None:
    """Remove every version but `kept`, and those that a link leads to or that run."""
    former = {path for path in _versions(executor) if path not in set(kept)}
    for path in sorted(former - set(_used(executor, former))):
        step = Remove(path, whole=True)
        say(f"{step.what}: neither this version nor the one before")
        executor.do(step)


def _versions(executor: Executor) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for path in executor.place(PROGRAMS).iterdir():
            if path.is_dir() and not path.is_symlink():
                yield f"{PROGRAMS}/{path.name}"


def _used(executor: Executor, versions: Iterable[str]) -> Iterator[str]:
    seen = [f"{target}/" for target in _targets(executor)]
    seen += [text for process in executor.place("/proc").glob("[0-9]*") for text in _texts(process)]
    return (path for path in versions if any(f"{path}/" in text for text in seen))


def _targets(executor: Executor) -> Iterator[str]:
    for directory in LINKS:
        with contextlib.suppress(FileNotFoundError):
            for path in executor.place(directory).iterdir():
                if path.is_symlink():
                    yield str(path.readlink())


def _texts(process: Path) -> Iterator[str]:
    """What a process has mapped, and how it was called: a Python is not in its environment."""
    for name in ("maps", "cmdline"):
        with contextlib.suppress(OSError):  # it has ended, or is the kernel's
            yield (process / name).read_text("utf-8", "replace").replace("\0", " ")
