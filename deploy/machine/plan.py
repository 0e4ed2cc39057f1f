"""What an install has to do: from what is wanted, what is found and the ledger. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from deploy.machine.ledger import Ledger, union
from deploy.machine.observe import Found
from deploy.machine.steps import Link, Make, Run, Step, Write
from deploy.machine.wanted import CURRENT, PODMAN_SERVICE, SYSTEMD, File, Wanted

ACTIVE = ("active", "activating", "reloading")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps, and the ledger that is written before the first of them."""

    steps: tuple[Step, ...]
    ledger: Ledger
    kept: tuple[str, ...]
    """Files that are not as an install wants them, but as somebody has made them."""


def plan(wanted: Wanted, found: Found, ledger: Ledger) -> Plan:
    """The steps that make a machine as wanted; none where it is so already."""
    files = [f for f in wanted.files if f.checksum != found.checksums.get(f.path)]
    written = [f for f in files if _may_write(f, found, ledger)]
    links = {p: t for p, t in wanted.links.items() if found.links.get(p) != t}
    linked = {p: t for p, t in links.items() if p in ledger.links or p not in found.paths}
    kept = [f.path for f in files if f not in written] + [p for p in links if p not in linked]
    users = tuple(user for user in wanted.users if user not in found.users)
    directories = tuple(path for path in wanted.directories if path not in found.paths)
    masked = tuple(u for u in wanted.unwelcome if _starts_by_itself(u, found))
    enabled = tuple(u for u in wanted.needed if found.unit(u).enabled != "enabled")
    started = tuple(u for u in wanted.needed if found.unit(u).active not in ACTIVE)
    changed = {unit for file in written for unit in file.units}
    if CURRENT in linked:
        changed |= {*ledger.units, *wanted.units}
    steps: list[Step] = [
        *(_user(name) for name in users),
        *(Make(path) for path in directories),
        *(Write(f.path, f.content, f.mode, f.group) for f in written),
        *(Link(path, target) for path, target in linked.items()),
        *(Run(f"masking {u}", ("systemctl", "mask", u)) for u in masked),
        *_services(wanted, found, changed, [f.path for f in written]),
    ]
    after = replace(
        ledger,
        files=ledger.files | {f.path: _sums(f, ledger) for f in written},
        links=ledger.links | linked,
        directories=union(ledger.directories, directories),
        users=union(ledger.users, users),
        units=union(ledger.units, wanted.units),
        masked=union(ledger.masked, masked),
        enabled=union(ledger.enabled, enabled),
        started=union(ledger.started, started),
    )
    return Plan(steps=tuple(steps), ledger=after, kept=tuple(kept))


def settled(ledger: Ledger) -> Ledger:
    """The ledger once all steps are done: of each file only what was written last."""
    return replace(ledger, files={path: sums[-1:] for path, sums in ledger.files.items()})


def _may_write(file: File, found: Found, ledger: Ledger) -> bool:
    """A file that is missing, or is as an install has written it."""
    there = found.checksums.get(file.path)
    return there is None or there in ledger.files.get(file.path, ())


def _sums(file: File, ledger: Ledger) -> tuple[str, ...]:
    former = tuple(each for each in ledger.files.get(file.path, ()) if each != file.checksum)
    return (*former, file.checksum)


def _starts_by_itself(unit: str, found: Found) -> bool:
    """Whether it would come up at the next boot. One that runs is somebody's, and left alone."""
    state = found.unit(unit)
    return state.enabled == "enabled" and state.active not in ACTIVE


def _user(name: str) -> Run:
    home = "/nonexistent"
    shell = "/usr/sbin/nologin"
    command = ("useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", shell)
    return Run(f"making the user {name}", (*command, name))


def _services(wanted: Wanted, found: Found, changed: set[str], written: list[str]) -> Iterator[Run]:
    """What systemd is told. Nothing waits for our units here: their start is watched."""
    if any(path.startswith(SYSTEMD) for path in written):
        yield Run("telling systemd of the units", ("systemctl", "daemon-reload"))
    if PODMAN_SERVICE in changed:
        yield Run("restarting Podman's service", ("systemctl", "try-restart", PODMAN_SERVICE))
    for unit in wanted.needed:
        if found.unit(unit).enabled != "enabled":
            yield Run(f"enabling {unit}", ("systemctl", "enable", unit))
        if found.unit(unit).active not in ACTIVE:
            yield Run(f"starting {unit}", ("systemctl", "start", unit))
    for unit in sorted(changed - {*wanted.units, PODMAN_SERVICE}):
        yield Run(f"restarting {unit}", ("systemctl", "--no-block", "try-restart", unit))
    for unit in wanted.units:
        state = found.unit(unit)
        if state.enabled != "enabled":
            yield Run(f"enabling {unit}", ("systemctl", "enable", unit))
        if state.active == "failed":
            yield Run(f"forgetting that {unit} failed", ("systemctl", "reset-failed", unit))
        if state.active not in ACTIVE:
            yield Run(f"starting {unit}", ("systemctl", "--no-block", "start", unit))
        elif unit in changed:
            yield Run(f"restarting {unit}", ("systemctl", "--no-block", "restart", unit))
