"""What `deploy/install --check` says: what an install would do. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from deploy.machine.plan import Plan
from deploy.machine.steps import Write

NOTHING = "nothing to change"
"""Said by an install and by its check; who drives them from a program looks for it."""
NO_FILE = "/dev/null"


def lines(
    made: Plan, *, packages: Sequence[str], programs: str, contents: Mapping[str, str]
) -> Iterator[str]:
    """A line for each thing that would be done, then how each file would change.

    `programs` is the directory that Wherry would be installed into, '' where it is there already;
    `contents` are those of the files that are there, by path.
    """
    doing = [f"installing the packages {' '.join(packages)}"] if packages else []
    if programs:
        doing.append(f"installing Wherry into {programs}")
    doing += [step.what for step in made.steps]
    yield from (f"would be {each}" for each in doing) if doing else (NOTHING,)
    yield from (f"would keep {path}: somebody else has written or changed it" for path in made.kept)
    for step in made.steps:
        if isinstance(step, Write):
            yield from difference(step.path, contents.get(step.path), step.content)


def difference(path: str, old: str | None, new: str) -> list[str]:
    """A unified diff of a file; all of it where there was none."""
    before = (old or "").splitlines()
    names = (NO_FILE if old is None else path, path)
    return list(difflib.unified_diff(before, new.splitlines(), *names, lineterm=""))
