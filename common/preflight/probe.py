"""Asks a machine for what the rules want to know. Nothing of the machine is changed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from common.etcd.access import (
    DEFAULT_PREFIX,
    Access,
    endpoint_problem,
    file_problems,
    prefix_problem,
    problems,
)
from common.preflight import firewall, sockets
from common.preflight.facts import Facts, Role, Server
from common.preflight.rules import CONFIG, CONTROLLERS, FREE_LEAST_BYTES
from common.runtime import interfaces
from common.runtime.clock import Clock
from common.runtime.reasons import reason

PACKAGES = {
    "master": {"etcd": "etcd-server"},
    "node": {
        "podman": "podman",
        "/usr/lib/podman/netavark": "netavark",
        "catatonit": "catatonit",
        "nft": "nftables",
        "conntrack": "conntrack",
        "ip": "iproute2",
        "nsenter": "util-linux",
    },
}
"""The programs that are needed, and the packages that have them, on Debian and its children."""
AGENTS = frozenset({"kubelet", "k3s", "k3s-server", "k3s-agent", "rke2", "k0s", "kubelite"})
"""Processes that run pods, by name."""
COMMAND_SECONDS = 10.0
NFT_TRIAL = """table ip wherry-trial {
    chain sources { type filter hook prerouting priority -300; fib saddr . iif oif 0 drop; }
    chain out { type nat hook postrouting priority 101; masquerade; }
    map ways { type ipv4_addr . inet_proto . inet_service : verdict; }
}
"""
OVERLAY_TRIAL = (
    'mount -t tmpfs tmpfs "$0" && cd "$0" && mkdir l u w m && '
    "mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m"
)


def facts(role: Role, server: str, clock: Clock, given: Mapping[str, str] | None = None) -> Facts:
    """What is true of this machine; `server` is the master to join, '' when it is not known.

    What is `given` stands above what the configuration file says.
    """
    settings = _settings(Path(CONFIG[role])) | dict(given or {})
    url = server or settings.get("master", "")
    is_node = role == "node"
    processes = sockets.processes()
    return Facts(
        is_root=os.geteuid() == 0,
        has_systemd=Path("/run/systemd/system").is_dir(),
        now=clock.now(),
        settings=settings,
        missing=tuple(_missing(role, is_external="etcd-endpoints" in settings)),
        listeners=sockets.listeners(processes),
        agents=tuple(each for each in processes if each.name in AGENTS),
        routed_address=interfaces.routed_address(),
        interfaces=tuple(interfaces.interfaces()),
        hostname=socket.gethostname(),
        machine_id=_text(Path("/etc/machine-id")).strip(),
        controllers=_controllers() if is_node else frozenset(CONTROLLERS),
        trials=dict(_trials()) if is_node and os.geteuid() == 0 else {},
        podman=_podman() if is_node else "",
        firewalls=tuple(_firewalls()),
        free_bytes={place: _free(Path(place)) for place in FREE_LEAST_BYTES},
        server=_server(url) if is_node and url else None,
        etcd=() if is_node else tuple(etcd_problems(access_of(settings))),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _settings(file: Path) -> dict[str, str]:
    """The plain `key: value` lines of a configuration file and its drop-ins; the members of a list
    with commas between them.

    No YAML: a machine on which nothing is installed has no library for it.
    """
    drop_ins = sorted(file.with_name(f"{file.name}.d").glob("*.yaml"))
    values: dict[str, str] = {}
    key = ""
    for line in "\n".join(_text(each) for each in (file, *drop_ins)).splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if match := re.fullmatch(r"([a-z][a-z-]*):(?:\s+(\S.*))?", text):
            key = match[1]
            values[key] = _plain(match[2] or "")
        elif key and (match := re.fullmatch(r"\s*-\s+(\S+)", text)):
            values[key] = ",".join(filter(None, (values[key], _plain(match[1]))))
    return {name: value for name, value in values.items() if value and " " not in value}


def _plain(text: str) -> str:
    """A value, or all of a list that is in one line, without brackets and quotes."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return re.sub(r",\s+", ",", re.sub(r"[\"']", "", inner)).strip()


def access_of(settings: Mapping[str, str]) -> Access:
    """What the master's settings say of an etcd that is not its own."""
    return Access(
        endpoints=tuple(filter(None, settings.get("etcd-endpoints", "").split(","))),
        cacert=settings.get("etcd-cacert", ""),
        cert=settings.get("etcd-cert", ""),
        key=settings.get("etcd-key", ""),
        prefix=settings.get("etcd-prefix", DEFAULT_PREFIX),
    )


def etcd_problems(access: Access) -> Iterator[str]:
    """What is wrong with it, without a question to it."""
    of_texts = [*map(endpoint_problem, access.endpoints), prefix_problem(access.prefix)]
    yield from filter(None, of_texts)
    yield from problems(access)
    yield from file_problems(access)


def _missing(role: Role, *, is_external: bool) -> Iterator[str]:
    for program, package in PACKAGES[role].items():
        if program == "etcd" and is_external:
            continue
        if shutil.which(program) is None:
            yield package
    if importlib.util.find_spec("ensurepip") is None:
        yield "python3-venv"


def _run(command: Sequence[str], text: str = "") -> tuple[int, str, str]:
    """(exit code, stdout, stderr); 127 when it cannot be run."""
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
        return 127, "", reason(error)
    return ended.returncode, ended.stdout, " ".join(ended.stderr.split())


def _controllers() -> frozenset[str]:
    """The controllers of cgroups that may be used: of v2, or those of v1 that are mounted."""
    root = Path("/sys/fs/cgroup")
    unified = root / "cgroup.controllers"
    if unified.exists():
        usable = os.access(root / "cgroup.subtree_control", os.W_OK)
        return frozenset(_text(unified).split()) if usable else frozenset()
    mounted = (each for each in root.iterdir()) if root.is_dir() else iter(())
    return frozenset(name for each in mounted for name in each.name.split(","))


def _trials() -> Iterator[tuple[str, str]]:
    """What the kernel refuses, tried in a network and mounts of its own. Programs that are missing
    are told of as packages."""
    trials = (
        ("network namespaces", ["true"], ""),
        (
            "veth links",
            ["ip", "link", "add", "name", "one", "type", "veth", "peer", "name", "two"],
            "",
        ),
        ("nftables as it is needed", ["nft", "-f", "-"], NFT_TRIAL),
    )
    for what, command, text in trials:
        if shutil.which(command[0]) is not None:
            code, _, said = _run(["unshare", "--net", *command], text)
            if code:
                yield what, said
    with tempfile.TemporaryDirectory() as directory:
        code, _, said = _run(["unshare", "--mount", "sh", "-ec", OVERLAY_TRIAL, directory])
        if code:
            yield "overlay mounts", said
    if not hasattr(os, "pidfd_open"):
        yield "pidfd_open", "Linux 5.3 has it"


def _podman() -> str:
    _, said, _ = _run(["podman", "--version"])
    match = re.search(r"\d+\.[\d.]+", said)
    return match[0] if match else ""


def _firewalls() -> Iterator[str]:
    active = [name for name in ("firewalld", "ufw") if _is_active(name)]
    if active:
        yield from active
        return
    code, ruleset, _ = _run(["nft", "-j", "list", "ruleset"])
    if code == 0:
        yield from firewall.refusing(ruleset)


def _is_active(name: str) -> bool:
    """ufw's unit is active also when ufw itself is switched off."""
    if name == "ufw":
        return "ENABLED=yes" in _text(Path("/etc/ufw/ufw.conf")).splitlines()
    return _run(["systemctl", "is-active", "--quiet", name])[0] == 0


def _free(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _server(url: str) -> Server:
    """Whether the master answers, and what its clock says. It is told nothing, so it may be
    anybody: the join compares its authority with the token's."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with contextlib.closing(
            HTTPSConnection(parts.hostname or "", parts.port or 6443, context=context, timeout=5.0)
        ) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return Server(url=url, clock=_date(answer.headers.get("Date", "")))
    except (OSError, HTTPException) as error:
        return Server(url=url, problem=reason(error))


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None
