"""Getting a node's client certificate: with a token that pins the master's authority when it
joins, and with the certificate that it has when that is to be renewed.

Nothing secret is sent before the authority has been compared with the pin. Blocking: runs in a
process without an event loop. Source: docs/operating.md, "Adding a node".
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.api.errors import StatusError
from common.api.wellknown import KUBELET_SIGNER, NODE_USER_PREFIX, NODES_GROUP
from common.client.https import (
    ConnectionFailed,
    HttpsClient,
    client_context,
    unverified_context,
    verified_context,
)
from common.runtime.reasons import reason
from common.security.ca import CertificateError, certificates_in, pin
from common.security.csr import MACHINE_ID, make_key, make_request
from common.security.digest import digest
from common.security.files import make_private_directory, write_private
from common.security.keypair import KeyPair
from common.security.tokens import InvalidToken, JoinToken, parse_token
from common.security.validity import validity
from node.session import credentials
from node.session.credentials import (
    CA_FILE,
    FORMER_CERTIFICATE,
    FORMER_KEY,
    IDENTITY_FILE,
    JOINED_BY_FILE,
    NODE_PORT,
    PORT_FILE,
)

log = logging.getLogger(__name__)
ROOM_FILE, ROOM_BYTES = "room", 32 << 10
POLLS = 50


class Machine(NamedTuple):
    """What joins: the name that its Node is to have, and the machine's own id."""

    node: str
    machine_id: str


class JoinFailed(Exception):
    """The node cannot join; the message says why, in words for the operator."""


class NotNow(JoinFailed):
    """The master does not answer, or this machine's disk is full: trying again may help."""


def join(
    directory: Path, master: str, token_file: str, machine: Machine, wait: Callable[[], None]
) -> None:
    """Get this node's credentials by the token, and store them; the certificate comes last.

    `wait` is called between polls. Raises JoinFailed.
    """
    with _translated():
        token = _token(token_file)
        authority = _authority(master, token)
        client = HttpsClient(master, verified_context(authority), bearer=token.bearer())
        _enroll(directory, client, machine, wait)
    write_private(directory / JOINED_BY_FILE, digest(token.text().encode()).encode())
    log.info("joined", extra={"object": machine.node})


def renew(directory: Path, master: str, machine: Machine, wait: Callable[[], None]) -> None:
    """Get a new key and certificate by the present one, and store them. Raises JoinFailed."""
    present = credentials.load(directory)
    if present is None:
        raise JoinFailed("this node has no certificate that could be renewed")
    pair = KeyPair(present.certificate, present.key)
    with _translated():
        _enroll(directory, HttpsClient(master, client_context(present.ca, pair)), machine, wait)
    log.info("the certificate is renewed", extra={"object": machine.node})


@contextmanager
def _translated() -> Iterator[None]:
    """What goes wrong in the block as JoinFailed."""
    try:
        yield
    except ConnectionFailed as error:
        raise NotNow(str(error)) from error
    except StatusError as error:
        kind = NotNow if error.code in (429, 500, 503, 504) else JoinFailed
        raise kind(f"the master refused: {error.message}") from error
    except CertificateError as error:
        raise JoinFailed(f"the master's answer cannot be used: {error}") from error


def _enroll(
    directory: Path, client: HttpsClient, machine: Machine, wait: Callable[[], None]
) -> None:
    """Store what the master says and signs; certificate and key come last, in one step."""
    key = make_key()
    user = f"{NODE_USER_PREFIX}{machine.node}"
    request = make_request(key, user, (NODES_GROUP,))
    with _room(directory):
        certificate = _certificate(client, machine, request, wait)
    life = validity(certificate)
    write_private(directory / PORT_FILE, str(_node_port(client)).encode())
    write_private(directory / CA_FILE, _cacerts(client))
    text = credentials.text_of(certificate, key, life.renew, life.expires)
    write_private(directory / IDENTITY_FILE, text)
    for name in (FORMER_CERTIFICATE, FORMER_KEY):
        (directory / name).unlink(missing_ok=True)


@contextmanager
def _room(directory: Path) -> Iterator[None]:
    """Hold the room that a certificate needs until the end of the block: one that cannot be stored
    would have taken a use of the token. Raises NotNow."""
    room = directory / ROOM_FILE
    try:
        make_private_directory(directory)
        write_private(room, bytes(ROOM_BYTES))
    except OSError as error:
        raise NotNow(f"cannot store a certificate in {directory}: {reason(error)}") from error
    try:
        yield
    finally:
        room.unlink(missing_ok=True)


def _cacerts(client: HttpsClient) -> bytes:
    """The authorities of masters, as one who is trusted says."""
    status, body = client.request("GET", "/cacerts")
    if status != 200:
        raise NotNow(f"/cacerts answered {status}")
    return b"".join(certificates_in(body))


def _token(token_file: str) -> JoinToken:
    if not token_file:
        raise JoinFailed("this node has no certificate yet: --token-file is needed to join")
    try:
        return parse_token(Path(token_file).read_text("utf-8"))
    except OSError as error:
        raise JoinFailed(f"cannot read the join token {token_file}: {reason(error)}") from error
    except InvalidToken as error:
        raise JoinFailed(f"{token_file}: {error}") from error


def _authority(master: str, token: JoinToken) -> bytes:
    """The master's authority, fetched without trust and compared with the token's pin.

    Only the certificate that was compared is trusted: the answer may hold more.
    """
    status, body = HttpsClient(master, unverified_context()).request("GET", "/cacerts")
    if status != 200:
        raise NotNow(f"{master}/cacerts answered {status}")
    for authority in certificates_in(body):
        if pin(authority) == token.ca_pin:
            return authority
    raise JoinFailed(
        f"the authority of {master} is not the one that the token names: this may be another "
        "cluster, or somebody in between; nothing was sent"
    )


def _node_port(client: HttpsClient) -> int:
    """Where the master listens for nodes; the default for a master that does not say."""
    try:
        port = client.json("GET", "/ports").get("certificates")
    except StatusError as error:
        if error.code != 404:
            raise
        return NODE_PORT
    return port if type(port) is int and 0 < port < 1 << 16 else NODE_PORT


def _certificate(
    client: HttpsClient, machine: Machine, request: bytes, wait: Callable[[], None]
) -> bytes:
    """Make the signing request and wait for the certificate."""
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "generateName": f"node-csr-{machine.node}-",
            "annotations": {MACHINE_ID: machine.machine_id},
        },
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": KUBELET_SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    made = client.json("POST", path, body)
    name = made["metadata"]["name"]
    for _ in range(POLLS):
        csr = client.json("GET", f"{path}/{name}")
        status = csr.get("status", {})
        if status.get("certificate"):
            return base64.b64decode(status["certificate"])
        for condition in status.get("conditions", ()):
            if condition["type"] in ("Denied", "Failed"):
                raise JoinFailed(f"the master refused: {condition.get('message')}")
        wait()
    raise NotNow("the master has not signed the certificate in time")
