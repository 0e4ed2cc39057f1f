"""A reader of docs/install.md and docs/operating.md, who types what these pages say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.machines.machines import Machines

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = ("install.md", "operating.md")


def documented() -> list[str]:
    """The lines that the pages set apart, without comments; long ones are whole."""
    text = "\n".join((DOCS / page).read_text() for page in PAGES)
    blocks = re.sub(r" \\\n +", " ", text)
    lines = re.findall(r"^    (\S.*)$", blocks, re.M)
    return [re.sub(r"\s{2,}# .*", "", line) for line in lines]


class Reader:
    """Types documented commands on machines, with names and addresses that are right there."""

    def __init__(self, machines: Machines, names: Mapping[str, str]) -> None:
        """`names` are words of the pages, and what stands for them here."""
        self._machines = machines
        self._names = names
        self._documented = set(documented())

    def text(self, line: str, names: Mapping[str, str] | None = None) -> str:
        """A line of the pages as it reads here, with further `names`."""
        assert line in self._documented, f"the pages do not say: {line}"
        for word, meaning in {**self._names, **(names or {})}.items():
            line = line.replace(word, meaning)
        return line

    def types(
        self,
        machine: str,
        *lines: str,
        names: Mapping[str, str] | None = None,
        cwd: str = "/root",
        before: str = "",
        check: bool = True,
    ) -> str:
        """What lines print when they are typed into one shell of a machine, `before` first."""
        typed = [self.text(line, names) for line in lines]
        script = "\n".join(["set -e", f"cd {cwd}", before, *typed])
        return self._machines.run(machine, script, check=check, timeout_seconds=600)
