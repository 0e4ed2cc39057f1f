"""What a namespace asks of its pods, by its labels.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-namespace-labels/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from common.api import errors
from common.api.errors import FieldError

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
"""From the laxest to the strictest."""
NEWEST_MINOR = 36
"""Of the versions of Kubernetes whose checks are known here."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,3})")


class Standard(NamedTuple):
    """A level, as it was in one version of Kubernetes."""

    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def minor(self) -> int:
        """The version's number, of those that are known."""
        found = _VERSION.fullmatch(self.version)
        return min(int(found[1]), NEWEST_MINOR) if found else NEWEST_MINOR

    @property
    def strictness(self) -> int:
        """0 for privileged."""
        return LEVELS.index(self.level)


class Policy(NamedTuple):
    """What is refused, what the audit log names, and what the writer is warned of."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


def policy_of(labels: Mapping[str, str]) -> Policy:
    """The policy of a namespace. What cannot be read is refused most, and warned of least."""
    enforce = _standard(labels, "enforce", "restricted")
    audit = _standard(labels, "audit", "privileged")
    warn = _standard(labels, "warn", "privileged")
    if f"{PREFIX}warn" not in labels and labels.get(f"{PREFIX}enforce") in LEVELS:
        version = warn.version if f"{PREFIX}warn-version" in labels else enforce.version
        warn = Standard(enforce.level, version)
    return Policy(enforce, audit, warn)


def problems(labels: Mapping[str, str]) -> list[FieldError]:
    """What is wrong with the labels of a namespace."""
    found = []
    for mode in Policy._fields:
        level, version = f"{PREFIX}{mode}", f"{PREFIX}{mode}-version"
        if labels.get(level, LEVELS[0]) not in LEVELS:
            text = f"must be one of {', '.join(LEVELS)}"
            found.append(errors.invalid(f"metadata.labels[{level}]", labels[level], text))
        value = labels.get(version, "latest")
        if value != "latest" and not _VERSION.fullmatch(value):
            text = 'must be "latest" or "v1.x"'
            found.append(errors.invalid(f"metadata.labels[{version}]", value, text))
    return found


def _standard(labels: Mapping[str, str], mode: str, unreadable: str) -> Standard:
    level = labels.get(f"{PREFIX}{mode}", LEVELS[0])
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    return Standard(
        level if level in LEVELS else unreadable,
        version if _VERSION.fullmatch(version) else "latest",
    )
