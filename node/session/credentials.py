"""What a node shows the master, as a former join has stored it. Loads no cryptography."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CA_FILE = "ca.crt"
CERTIFICATE_FILE = "node.crt"
KEY_FILE = "node.key"
PORT_FILE = "node-port"
NODE_PORT = 6444
"""Where masters listen for nodes unless they say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The master's authority, this node's certificate and key (PEM), and the port for nodes."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)
    node_port: int = NODE_PORT


def load(directory: Path) -> Credentials | None:
    """The credentials of a node that has joined, or None."""
    files = [directory / name for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE)]
    if not all(file.exists() for file in files):
        return None
    ca, certificate, key = (file.read_bytes() for file in files)
    port = directory / PORT_FILE
    node_port = int(port.read_text("ascii")) if port.exists() else NODE_PORT
    return Credentials(ca=ca, certificate=certificate, key=key, node_port=node_port)
