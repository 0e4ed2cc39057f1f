"""What a node shows the master, as it was stored when it joined or renewed its certificate.

Loads no cryptography: what must be known of the certificate stands as text before it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from common.security.files import write_private

CA_FILE = "ca.crt"
IDENTITY_FILE = "node.pem"
"""Certificate and key in one file, so that they change together, and before them two lines."""
PORT_FILE = "node-port"
JOINED_BY_FILE = "joined-by"
"""The digest of the last token that has let this machine in."""
NODE_PORT = 6444
"""Where masters listen for nodes unless they say otherwise."""
FORMER_CERTIFICATE, FORMER_KEY = "node.crt", "node.key"
"""Of nodes that joined before certificates were renewed."""
NEVER = datetime.max.replace(tzinfo=UTC)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)
_LINE = re.compile(rb"^(renew|expires): (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The master's authorities, this node's certificate and key (PEM), and the port for nodes."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    node_port: int = NODE_PORT
    renew: datetime = NEVER
    """When the certificate is to be replaced."""
    expires: datetime = NEVER


class Held:
    """The credentials that are in use. Made inside a running loop."""

    def __init__(self, current: Credentials) -> None:
        self.current = current
        self.changed = asyncio.Event()
        """There are others than before."""

    def replace(self, new: Credentials) -> None:
        """From now on these are used."""
        self.current = new
        self.changed.set()


def trust(directory: Path, held: Held, authorities: bytes) -> None:
    """Trust other authorities of masters from now on, also after a restart.

    Raises ValueError for what is none.
    """
    if authorities == held.current.ca:
        return
    try:
        ssl.create_default_context(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"not authorities: {error}") from error
    write_private(directory / CA_FILE, authorities)
    held.replace(replace(held.current, ca=authorities))


def load(directory: Path) -> Credentials | None:
    """The credentials of a node that has joined, or None. Raises ValueError for a broken file."""
    file, authority = directory / IDENTITY_FILE, directory / CA_FILE
    former = (directory / FORMER_CERTIFICATE, directory / FORMER_KEY)
    if file.exists():
        text = file.read_bytes()
    elif all(each.exists() for each in former):
        text = b"".join(each.read_bytes() for each in former)
    else:
        return None
    port = directory / PORT_FILE
    node_port = int(port.read_text("ascii")) if port.exists() else NODE_PORT
    return _read(file, text, authority.read_bytes(), node_port)


def joined_by(directory: Path) -> str:
    """The digest of the last token that has let this machine in; '' when none has since before."""
    file = directory / JOINED_BY_FILE
    return file.read_text("ascii") if file.exists() else ""


def text_of(certificate: bytes, key: bytes, renew: datetime, expires: datetime) -> bytes:
    """What stands in the file of a certificate (PEM) and its key."""
    lines = f"renew: {renew.isoformat()}\nexpires: {expires.isoformat()}\n"
    return lines.encode() + certificate + key


def _read(file: Path, text: bytes, ca: bytes, node_port: int) -> Credentials:
    blocks = {block[1].rpartition(b" ")[2]: block[0] for block in _BLOCK.finditer(text)}
    if set(blocks) != {b"CERTIFICATE", b"KEY"}:
        raise ValueError(f"{file} does not hold a certificate and its key")
    times = {name: datetime.fromisoformat(at.decode()) for name, at in _LINE.findall(text)}
    return Credentials(
        ca=ca,
        certificate=blocks[b"CERTIFICATE"],
        key=blocks[b"KEY"],
        node_port=node_port,
        renew=times.get(b"renew", datetime.min.replace(tzinfo=UTC)),
        expires=times.get(b"expires", NEVER),
    )
