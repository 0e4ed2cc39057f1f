"""What a user says of an etcd of his own: where it is, and what to show it.

Of the standard library only: a machine on which nothing is installed is checked, too.
"""

import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from common.runtime.reasons import reason

EXAMPLE = "https://10.0.0.1:2379"
DEFAULT_PREFIX = "/wherry"
_PREFIX = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The settings. Files are paths, '' for none; `endpoints` is empty for an etcd of our own."""

    endpoints: tuple[str, ...] = ()
    cacert: str = ""
    cert: str = ""
    key: str = ""
    prefix: str = DEFAULT_PREFIX

    @property
    def targets(self) -> tuple[str, ...]:
        """The endpoints as HOST:PORT."""
        return tuple(urlsplit(url).netloc for url in self.endpoints)

    @property
    def is_secure(self) -> bool:
        """Whether they speak TLS."""
        return any(url.startswith("https:") for url in self.endpoints)


def endpoint_problem(url: str) -> str:
    """What is wrong with an endpoint; '' when nothing is."""
    wrong = f"{url!r} is not an endpoint of etcd such as {EXAMPLE}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return wrong
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not host or not port or url not in (f"http://{place}", f"https://{place}"):
        return wrong
    if parts.scheme == "http" and not _is_loopback(host):
        return f"{url!r} would send everything in plain text: use https://"
    return ""


def prefix_problem(text: str) -> str:
    """What is wrong with the prefix of all keys; '' when nothing is."""
    return "" if _PREFIX.fullmatch(text) else f"{text!r} is not a prefix such as /wherry or /a/b"


def problems(access: Access) -> Iterator[str]:
    """What is wrong with the settings together, each in a line that begins with the setting."""
    files = {
        f"etcd-{name}": getattr(access, name)
        for name in ("cacert", "cert", "key")
        if getattr(access, name)
    }
    if not access.endpoints:
        lone = [*files, *(["etcd-prefix"] if access.prefix != DEFAULT_PREFIX else [])]
        yield from (
            f"{name} is for an etcd that is not the master's own: set etcd-endpoints too"
            for name in lone
        )
        return
    if len(set(access.endpoints)) < len(access.endpoints):
        yield "etcd-endpoints names an endpoint twice"
    if len({url.partition(":")[0] for url in access.endpoints}) > 1:
        yield "etcd-endpoints must be https:// all of them, or http:// all of them"
    elif files and not access.is_secure:
        yield f"{next(iter(files))} is for endpoints that are https://"
    if bool(access.cert) != bool(access.key):
        there, lacking = ("cert", "key") if access.cert else ("key", "cert")
        yield f"etcd-{there} is of no use without etcd-{lacking}"


def file_problems(access: Access) -> Iterator[str]:
    """What is wrong with the files, as far as whoever runs this may read them."""
    unread = False
    for name in ("cacert", "cert", "key"):
        path = getattr(access, name)
        if path and (said := _pem_problem(path)):
            unread = True
            yield f"etcd-{name}: {path}: {said}"
    if unread:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if access.cacert:
        try:
            context.load_verify_locations(access.cacert)
        except ssl.SSLError:
            yield f"etcd-cacert: {access.cacert}: it holds no certificate that can be read"
    if access.cert and access.key:
        try:
            # An empty password, or an encrypted key would be asked for on the terminal.
            context.load_cert_chain(access.cert, access.key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                yield f"etcd-key: {access.key} is not the key of {access.cert}"
            else:
                yield f"etcd-cert: {access.cert}, or its key {access.key}, cannot be read as one"


def _pem_problem(path: str) -> str:
    try:
        pem = Path(path).read_bytes()
        pem.decode("ascii")
    except PermissionError:
        return "the user that runs the master may not read it: chgrp and chmod g+r"
    except UnicodeDecodeError:
        return "it is not a PEM file"
    except OSError as error:
        return reason(error)
    return "" if b"-----BEGIN " in pem else "it is not a PEM file"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
