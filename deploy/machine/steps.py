"""Single changes to a machine, and how each is carried out. Each may be repeated."""

from __future__ import annotations

import grp
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.runtime.reasons import reason

COMMAND_SECONDS = 120.0
_ESCAPE = re.compile(r"\\([0-7]{3})")


class StepFailed(Exception):
    """A change could not be made; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class Run:
    """A program, run to its end."""

    what: str
    command: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """A file, whole or not at all."""

    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    group: str = ""
    """'' for that of whoever writes it."""

    @property
    def what(self) -> str:
        """What a person is told."""
        return f"writing {self.path}"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, in the place of a former one at once."""

    path: str
    target: str

    @property
    def what(self) -> str:
        """What a person is told."""
        return f"linking {self.path} to {self.target}"


@dataclass(frozen=True, slots=True)
class Make:
    """A directory that everybody may read."""

    path: str

    @property
    def what(self) -> str:
        """What a person is told."""
        return f"making {self.path}"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or link; a directory only when it is empty, unless `whole`."""

    path: str
    whole: bool = False

    @property
    def what(self) -> str:
        """What a person is told."""
        return f"removing {self.path}"


Step = Run | Write | Link | Make | Remove


def mount_points(directories: Sequence[str], mountinfo: str | None = None) -> list[str]:
    """What is mounted below some directories, the topmost first."""
    text = Path("/proc/self/mountinfo").read_text("utf-8") if mountinfo is None else mountinfo
    points = [_ESCAPE.sub(_unescaped, line.split()[4]) for line in text.splitlines()]
    below = tuple(f"{directory}/" for directory in directories)
    return [point for point in reversed(points) if point.startswith(below)]


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 8))


class Executor:
    """Carries steps out, on the machine or, for tests, below another root."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def place(self, path: str) -> Path:
        """Where a path of the machine is."""
        return self.root / path.lstrip("/")

    def do(self, step: Step) -> None:
        """Carry a step out. Raises StepFailed."""
        try:
            match step:
                case Run():
                    self.run(step.command, step.text)
                case Write():
                    self._write(self.place(step.path), step)
                case Link():
                    self._link(self.place(step.path), step.target)
                case Make():
                    self.place(step.path).mkdir(mode=0o755, parents=True, exist_ok=True)
                case Remove():
                    self._remove(self.place(step.path), whole=step.whole)
        except (OSError, KeyError) as error:
            raise StepFailed(f"{step.what}: {reason(error)}") from error

    def run(self, command: Sequence[str], text: str = "") -> str:
        """What a program prints. Raises StepFailed in its words."""
        try:
            ended = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(f"{' '.join(command)}: {reason(error)}") from error
        if ended.returncode:
            said = " ".join(ended.stderr.split()) or f"exit code {ended.returncode}"
            raise StepFailed(f"{' '.join(command)}: {said}")
        return ended.stdout

    def _write(self, place: Path, step: Write) -> None:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(step.content)
            if step.group:
                os.fchown(out.fileno(), -1, grp.getgrnam(step.group).gr_gid)
            os.fchmod(out.fileno(), step.mode)
        new.replace(place)

    def _link(self, place: Path, target: str) -> None:
        new = place.with_name(f".{place.name}.new")
        new.unlink(missing_ok=True)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new.symlink_to(target)
        new.replace(place)

    def _remove(self, place: Path, *, whole: bool) -> None:
        if whole and place.is_dir() and not place.is_symlink():
            if mount_points([str(place)]):
                raise OSError("something is mounted below it")
            shutil.rmtree(place)
        elif place.is_dir() and not place.is_symlink():
            if not any(place.iterdir()):
                place.rmdir()
        else:
            place.unlink(missing_ok=True)
