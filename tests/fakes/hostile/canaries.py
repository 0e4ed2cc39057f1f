"""Secrets that are looked for where none may be: in files, processes and answers (G19)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

LOOK_SECONDS = 0.05
PROC = Path("/proc")
_PEM_KEY = re.compile(rb"-----BEGIN (?:EC )?PRIVATE KEY-----\n(.+?)\n")


class Canaries:
    """Secrets by name, in the forms in which they could appear."""

    def __init__(self, secrets: Mapping[str, bytes] | None = None) -> None:
        self._forms: dict[str, list[bytes]] = {}
        for name, secret in (secrets or {}).items():
            self.add(name, secret)

    def add(self, name: str, secret: bytes) -> None:
        """Look for a text: as it is, and as base64 wherever it begins in what is encoded."""
        assert len(secret) >= 12, "it would be found by chance"
        shifted = [base64.b64encode(b"\0" * n + secret)[4 if n else 0 : -4] for n in range(3)]
        self._forms[name] = [secret, *shifted]

    def add_keys(self, name: str, pem: bytes) -> None:
        """Look for the private keys in `pem`: for their first line, whatever is made of the rest.
        Those that are base64 once more, as in a kubeconfig, are found, too."""
        found = _PEM_KEY.findall(pem)
        assert found, f"no key in {name}"
        for number, line in enumerate(found):
            self.add(f"{name} {number}", line[-32:])

    def in_data(self, data: bytes) -> list[str]:
        """The names of those that are in there."""
        return [n for n, forms in self._forms.items() if any(form in data for form in forms)]

    def in_files(self, files: Iterable[Path]) -> dict[str, list[str]]:
        """The names of those that are in files, by file; one that is gone, or is the kernel's to
        keep from root, holds nothing."""
        found: dict[str, list[str]] = {}
        for file in files:
            try:
                names = self.in_data(file.read_bytes()) if _is_regular(file) else []
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if names:
                found[str(file)] = names
        return found

    def in_processes(self, pids: Iterable[int]) -> dict[str, list[str]]:
        """The same of the arguments and the environment of processes."""
        named = (Path(f"/proc/{pid}/{what}") for pid in pids for what in ("cmdline", "environ"))
        return self.in_files(named)


@contextmanager
def watching_processes(canaries: Canaries) -> Iterator[dict[str, list[str]]]:
    """Search every process of this host, and of machines on it, many times a second until the end
    of the block: what was found. A process that lives for milliseconds may be missed."""
    found: dict[str, list[str]] = {}
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            found.update(canaries.in_processes(int(each.name) for each in PROC.glob("[0-9]*")))

    watching = Thread(target=look)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()


def _is_regular(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def files_below(directory: Path) -> list[Path]:
    """Every file below a directory."""
    return [file for file in sorted(directory.rglob("*")) if _is_regular(file)]


def open_to_others(files: Iterable[Path]) -> list[str]:
    """Those that somebody but their owner may read, by themselves."""
    return [str(file) for file in files if file.stat().st_mode & 0o077]


def processes_below(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in processes_below(int(child)))]
