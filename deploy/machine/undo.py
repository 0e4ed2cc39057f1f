"""What an uninstall has to do, and what is left then: from the ledger and what is found. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.machine.ledger import OF_PODMAN, Ledger
from deploy.machine.observe import DATA, FORWARDING, LOGS, ROUTES, RUN_DIRECTORY, Found, Leftovers
from deploy.machine.plan import ACTIVE
from deploy.machine.steps import Remove, Run, Step
from deploy.machine.wanted import (
    CONFIG_DIRECTORY,
    PODMAN_SERVICE,
    PODMAN_SOCKET,
    PROGRAMS,
    SYSTEMD,
    TOKEN_FILE,
)

GRACE_SECONDS = 10


def stopping(ledger: Ledger, found: Found) -> list[Step]:
    """The first steps: after them, nothing of ours makes anything new."""
    return [
        Run(f"stopping {unit}", ("systemctl", "disable", "--now", unit))
        for unit in reversed(ledger.units)
        if found.unit(unit).is_there
    ]


def removing(ledger: Ledger, found: Found, leftovers: Leftovers, *, purge: bool) -> list[Step]:
    """All other steps, once our units have stopped. The programs that run this go last."""
    return [
        *_pods(leftovers),
        *_network(ledger, leftovers),
        *_system(ledger, found),
        *_files(ledger, found, purge=purge),
    ]


def _pods(leftovers: Leftovers) -> Iterator[Step]:
    if leftovers.containers:
        command = ("podman", "rm", "--force", "--time", str(GRACE_SECONDS), *leftovers.containers)
        yield Run("removing the containers of pods", command)
    if leftovers.links:  # while their namespaces are pinned, which would take them along
        lines = "".join(f"link delete dev {link}\n" for link in leftovers.links)
        yield Run("removing the links to pods", ("ip", "-force", "-batch", "-"), lines)
    if leftovers.mounts:
        yield Run("unmounting what pods had", ("umount", *leftovers.mounts))


def _network(ledger: Ledger, leftovers: Leftovers) -> Iterator[Step]:
    if leftovers.routes:
        flush = ("ip", "route", "flush", "proto", ROUTES)
        yield Run("removing the routes to pods", flush)
    for table in leftovers.tables:
        yield Run(f"removing the rules of {table}", ("nft", "delete", "table", *table.split()))
    former = ledger.before.ip_forward
    if "node" in ledger.roles and former not in ("", leftovers.ip_forward):
        command = ("sh", "-c", f"echo {former} > {FORWARDING}")
        yield Run(f"setting ip_forward to {former}, as it was", command)


def _system(ledger: Ledger, found: Found) -> Iterator[Step]:
    """Units, and what was done to those of others."""
    units = [path for path in ledger.files if path.startswith(SYSTEMD) and path in found.paths]
    for path in units:
        yield Remove(path)
        if path.endswith(".conf"):
            yield Remove(path.rsplit("/", 1)[0])
    for unit in ledger.masked:
        if found.unit(unit).enabled == "masked":
            yield Run(f"unmasking {unit}", ("systemctl", "unmask", unit))
            if ledger.before.units.get(unit, "").endswith("/absent"):
                yield Run(f"leaving {unit} switched off", ("systemctl", "disable", unit))
    if units:
        yield Run("telling systemd of it", ("systemctl", "daemon-reload"))
    for unit in ledger.units:
        if found.unit(unit).active == "failed":
            yield Run(f"forgetting that {unit} failed", ("systemctl", "reset-failed", unit))
    if any(path.endswith(".conf") for path in units) and found.unit(PODMAN_SERVICE).is_there:
        yield Run("restarting Podman's service", ("systemctl", "try-restart", PODMAN_SERVICE))
    for unit in ledger.enabled:
        if found.unit(unit).enabled == "enabled":
            yield Run(f"disabling {unit}", ("systemctl", "disable", unit))
    for unit in ledger.started:
        if found.unit(unit).active in ACTIVE:
            yield Run(f"stopping {unit}", ("systemctl", "stop", unit))
    if PODMAN_SOCKET in ledger.started:
        # Podman's service ends with its socket, and calls that a failure.
        script = f"! systemctl is-failed --quiet {PODMAN_SERVICE} || "
        script += f"systemctl reset-failed {PODMAN_SERVICE}"
        yield Run("leaving Podman's service as it was", ("sh", "-c", script))


def _files(ledger: Ledger, found: Found, *, purge: bool) -> Iterator[Step]:
    for path, sums in ledger.files.items():
        ours = found.checksums.get(path) in sums
        if not path.startswith(SYSTEMD) and path in found.paths and (ours or purge):
            yield Remove(path)
    if TOKEN_FILE in found.paths:
        yield Remove(TOKEN_FILE)
    if RUN_DIRECTORY in found.paths:
        yield Remove(RUN_DIRECTORY, whole=True)
    if purge:
        for path in data(ledger):
            if path in found.paths:
                yield Remove(path, whole=True)
        for user in ledger.users:
            if user in found.users:
                yield Run(f"removing the user {user}", ("userdel", user))
    for path in sorted(ledger.directories, key=len, reverse=True):  # what is within goes first
        if path in found.paths:
            yield Remove(path, whole=purge and path == CONFIG_DIRECTORY)
    for path, target in ledger.links.items():
        if found.links.get(path) == target:
            yield Remove(path)
    if PROGRAMS in found.paths and PROGRAMS not in ledger.before.paths:
        yield Remove(PROGRAMS, whole=True)


def data(ledger: Ledger) -> list[str]:
    """The directories of what Wherry has stored, which only `--purge` deletes."""
    logs = [LOGS] if "node" in ledger.roles and LOGS not in ledger.before.paths else []
    return [*(d for d in DATA if d.rsplit("/", 1)[1] in ledger.roles), *logs]


def afterwards(ledger: Ledger) -> Ledger:
    """The ledger of what is kept, for a later `--purge`."""
    return Ledger(
        roles=ledger.roles,
        before=ledger.before,
        users=ledger.users,
        directories=ledger.directories,
    )


def left(ledger: Ledger, found: Found, leftovers: Leftovers, *, purge: bool) -> list[str]:
    """What should be gone and is not."""
    units = [f"unit {unit}" for unit in ledger.units if found.unit(unit).is_there]
    links = [path for path in ledger.links if path in found.links]
    files = [p for p, sums in ledger.files.items() if found.checksums.get(p) in sums]
    purged = [path for path in data(ledger) if path in found.paths] if purge else []
    users = [f"user {user}" for user in ledger.users if user in found.users] if purge else []
    kernel = [
        *(f"process {each}" for each in leftovers.processes),
        *(f"container {each[:12]}" for each in leftovers.containers),
        *(f"mount {each}" for each in leftovers.mounts),
        *(f"link {each}" for each in leftovers.links),
        *(f"route {each}" for each in leftovers.routes),
        *(f"table {each}" for each in leftovers.tables),
    ]
    run = [RUN_DIRECTORY] if RUN_DIRECTORY in found.paths else []
    return [*kernel, *units, *files, *links, *run, *purged, *users]


def kept(ledger: Ledger, found: Found, *, purge: bool) -> list[str]:
    """What stays, a line each."""
    lines = []
    stored = [path for path in data(ledger) if path in found.paths]
    if stored and not purge:
        users = [f"the user {user}" for user in ledger.users if user in found.users]
        lines.append(f"{', '.join([*stored, *users])} (--purge deletes it)")
    if CONFIG_DIRECTORY in found.paths and not purge:
        lines.append(f"{CONFIG_DIRECTORY}, with what was changed there")
    traces = [path for path in OF_PODMAN if path in found.paths and path not in ledger.before.paths]
    lines += [f"{path}, which Podman has made" for path in traces]
    if ledger.packages:
        lines.append(f"packages: apt-get remove {' '.join(ledger.packages)}")
    return lines
