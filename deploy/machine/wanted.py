"""What an installed machine has, by its role. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources

PROGRAMS = "/opt/wherry"
CURRENT = f"{PROGRAMS}/current"
CONFIG_DIRECTORY = "/etc/wherry"
TOKEN_FILE = f"{CONFIG_DIRECTORY}/join.token"
ETCD_DIRECTORY = f"{CONFIG_DIRECTORY}/etcd"
ETCD_FILES = {"etcd-cacert": "ca.crt", "etcd-cert": "client.crt", "etcd-key": "client.key"}
"""What a master shows an etcd that is not its own, by the setting that names it."""
SYSTEMD = "/etc/systemd/system"
USER = "wherry"
MASTER_UNITS = ("wherry-master.service",)
NODE_UNITS = ("wherry-kubelet.service", "wherry-kube-proxy.service")
ETCD = "etcd.service"
PODMAN_SOCKET, PODMAN_SERVICE = "podman.socket", "podman.service"
PODMAN_DROP_IN = "podman.service.d/10-wherry.conf"
SCOPE_DROP_IN = "libpod-.scope.d/10-wherry.conf"
FOREIGN_UNITS = (ETCD, PODMAN_SOCKET, PODMAN_SERVICE)
HEADER = """\
# Made by deploy/install, which leaves this file alone once it was changed.
# {program} --help tells what can be set.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file with these contents. `units` are restarted when it changes."""

    path: str
    content: str = field(repr=False)
    units: tuple[str, ...] = ()
    mode: int = 0o644
    group: str = ""
    """Who may read it beside root; '' for root's own."""

    @property
    def checksum(self) -> str:
        """What the ledger knows the contents by."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Everything that an install makes."""

    role: str
    files: tuple[File, ...]
    links: dict[str, str]
    directories: tuple[str, ...] = (CONFIG_DIRECTORY,)
    users: tuple[str, ...] = ()
    units: tuple[str, ...]
    unwelcome: tuple[str, ...] = ()
    """Foreign units that must not start by themselves."""
    needed: tuple[str, ...] = ()
    """Foreign units that must run."""


def unit(name: str) -> str:
    """The contents of a unit file or drop-in of ours."""
    place = resources.files(__package__) / "units"
    return place.joinpath(name).read_text("utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Etcd:
    """An etcd that is not the master's own."""

    endpoints: tuple[str, ...]
    pems: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What its files hold, by the setting that names each."""
    prefix: str = ""
    """'' for the usual one."""


def master(version: str, address: str, etcd: Etcd | None = None) -> Wanted:
    """A master that is reached at an address; '' leaves it to its configuration.

    Without `etcd` it starts one of its own.
    """
    config = HEADER.format(program="wherry-master")
    if address:
        config += f"advertise-address: {address}\n"
    if etcd:
        config += _etcd_settings(etcd)
    return Wanted(
        role="master",
        files=(
            *(_etcd_files(etcd) if etcd else ()),
            File(path=f"{CONFIG_DIRECTORY}/config.yaml", content=config, units=MASTER_UNITS),
            *_units(MASTER_UNITS),
        ),
        links=_links(version),
        directories=(
            CONFIG_DIRECTORY,
            *([ETCD_DIRECTORY] if etcd and etcd.pems else ()),
        ),
        users=(USER,),
        units=MASTER_UNITS,
        unwelcome=() if etcd else (ETCD,),
    )


def _etcd_settings(etcd: Etcd) -> str:
    lines = [f"etcd-endpoints: [{', '.join(etcd.endpoints)}]"]
    lines += [f"{name}: {ETCD_DIRECTORY}/{ETCD_FILES[name]}" for name in etcd.pems]
    if etcd.prefix:
        lines.append(f"etcd-prefix: {etcd.prefix}")
    return "".join(f"{line}\n" for line in lines)


def _etcd_files(etcd: Etcd) -> Iterator[File]:
    """Copies, which the master's user may read wherever the admin keeps his own."""
    for name, pem in etcd.pems.items():
        path, is_key = f"{ETCD_DIRECTORY}/{ETCD_FILES[name]}", name == "etcd-key"
        mode, group = (0o640, USER) if is_key else (0o644, "")
        yield File(path=path, content=pem, units=MASTER_UNITS, mode=mode, group=group)


def node(version: str, server: str) -> Wanted:
    """A node of the master at a URL."""
    kubelet = HEADER.format(program="wherry-kubelet")
    kubelet += f"master: {server}\ntoken-file: {TOKEN_FILE}\n"
    proxy = HEADER.format(program="wherry-kube-proxy") + f"master: {server}\n"
    return Wanted(
        role="node",
        files=(
            File(path=f"{CONFIG_DIRECTORY}/kubelet.yaml", content=kubelet, units=NODE_UNITS[:1]),
            File(path=f"{CONFIG_DIRECTORY}/kube-proxy.yaml", content=proxy, units=NODE_UNITS[1:]),
            *_units(NODE_UNITS),
            File(
                path=f"{SYSTEMD}/{PODMAN_DROP_IN}",
                content=unit(PODMAN_DROP_IN),
                units=(PODMAN_SERVICE,),
            ),
            File(path=f"{SYSTEMD}/{SCOPE_DROP_IN}", content=unit(SCOPE_DROP_IN)),
        ),
        links=_links(version),
        units=NODE_UNITS,
        needed=(PODMAN_SOCKET,),
    )


def _units(names: tuple[str, ...]) -> list[File]:
    return [File(path=f"{SYSTEMD}/{name}", content=unit(name), units=(name,)) for name in names]


def _links(version: str) -> dict[str, str]:
    return {
        CURRENT: version,
        "/usr/local/bin/wherry": f"{CURRENT}/bin/wherry",
        "/usr/local/bin/wherry-uninstall": f"{CURRENT}/bin/wherry-uninstall",
    }
