"""The ledger of a machine: what installs have made, and what the first of them found before."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from common.runtime.reasons import reason

FILE = "/var/lib/wherry/install.json"
FORMAT = 1


class LedgerError(Exception):
    """The ledger cannot be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was found before anything was made."""

    units: dict[str, str] = field(default_factory=dict)
    """State and enablement of foreign units that an install may change, as `active/enabled`."""
    ip_forward: str = ""
    paths: tuple[str, ...] = ()
    """Those of `TRACES` that were there."""
    packages_missing: tuple[str, ...] = ()


OF_PODMAN = ("/etc/cni/net.d", "/etc/containers/networks", "/var/lib/cni")
"""Directories that Podman makes while it runs, by its network backend."""
TRACES = ("/etc/wherry", "/opt/wherry", "/var/log/pods", *OF_PODMAN)
"""Directories that Wherry or Podman make while they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What an uninstall undoes. It is written before the first change: what is listed may be
    missing, and what is not listed was not made."""

    roles: tuple[str, ...] = ()
    before: Before = field(default_factory=Before)
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Path -> SHA-256 of what an install has written there; two while one is under way."""
    links: dict[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    """Our units, enabled and started."""
    masked: tuple[str, ...] = ()
    enabled: tuple[str, ...] = ()
    """Foreign units that were enabled; the like of `started`."""
    started: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever installed here."""
        return not self.roles

    @property
    def packages(self) -> tuple[str, ...]:
        """The distribution packages that installs have brought."""
        return self.before.packages_missing

    def beginning(self, role: str, before: Before) -> Self:
        """With a role that is to be installed. What an earlier install has found stays: what it
        made itself was not there before."""
        old = self.before
        merged = Before(
            units={**before.units, **old.units},
            ip_forward=old.ip_forward or before.ip_forward,
            paths=old.paths if self.roles else before.paths,
            packages_missing=union(old.packages_missing, before.packages_missing),
        )
        return replace(self, roles=union(self.roles, (role,)), before=merged)


def union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """All of both, in order, each once."""
    return tuple(dict.fromkeys((*one, *other)))


def load(file: Path) -> Ledger:
    """The ledger, an empty one where there is none. Raises LedgerError."""
    try:
        plain = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError) as error:
        raise LedgerError(f"{file} cannot be read: {reason(error)}") from error
    if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
        raise LedgerError(f"{file} was written by another version: use its wherry-uninstall")
    return _ledger(plain)


def _ledger(found: dict[str, Any]) -> Ledger:
    before = found.pop("before")
    for values in (before, found):
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
    found["files"] = {path: tuple(sums) for path, sums in found["files"].items()}
    return Ledger(before=Before(**before), **found)


def save(file: Path, ledger: Ledger) -> None:
    """Write it, whole or not at all; nothing is written when nothing has changed."""
    text = json.dumps(_plain(ledger), indent=1) + "\n"
    if file.exists() and file.read_text("utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    with new.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)


def _plain(ledger: Ledger) -> dict[str, Any]:
    values = {each.name: getattr(ledger, each.name) for each in fields(ledger)}
    before = {each.name: getattr(ledger.before, each.name) for each in fields(ledger.before)}
    return {"format": FORMAT, **values, "before": before}
