"""Joining: with a token that pins the master's authority, a node gets its client certificate.

Nothing secret is sent before the authority has been compared with the pin. Blocking: runs before
there is an event loop. Source: docs/operating.md, "Adding a node".
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common.api.errors import StatusError
from common.client.https import (
    ConnectionFailed,
    HttpsClient,
    unverified_context,
    verified_context,
)
from common.runtime.reasons import reason
from common.security.ca import CertificateError, first_certificate, pin
from common.security.csr import (
    MACHINE_ID,
    NODE_USER_PREFIX,
    NODES_GROUP,
    make_key,
    make_request,
)
from common.security.files import make_private_directory, write_private
from common.security.tokens import InvalidToken, JoinToken, parse_token
from node.session.credentials import (
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    NODE_PORT,
    PORT_FILE,
)

log = logging.getLogger(__name__)
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
POLLS = 50


class Machine(NamedTuple):
    """What joins: the name that its Node is to have, and the machine's own id."""

    node: str
    machine_id: str


class JoinFailed(Exception):
    """The node cannot join; the message says why, in words for the operator."""


class MasterAway(JoinFailed):
    """The master does not answer, or cannot now: trying again may help."""


def join(
    directory: Path, master: str, token_file: str, machine: Machine, wait: Callable[[], None]
) -> None:
    """Get this node's credentials by the token, and store them; the certificate comes last.

    `wait` is called between polls. Raises JoinFailed.
    """
    make_private_directory(directory)
    try:
        _join(directory, master, token_file, machine, wait)
    except ConnectionFailed as error:
        raise MasterAway(str(error)) from error
    except StatusError as error:
        kind = MasterAway if error.code in (429, 500, 503, 504) else JoinFailed
        raise kind(f"the master refused: {error.message}") from error


def _join(
    directory: Path, master: str, token_file: str, machine: Machine, wait: Callable[[], None]
) -> None:
    token = _token(token_file)
    ca = _authority(master, token)
    key_file = directory / KEY_FILE
    if not key_file.exists():
        write_private(key_file, make_key())
    user = f"{NODE_USER_PREFIX}{machine.node}"
    request = make_request(key_file.read_bytes(), user, (NODES_GROUP,))
    client = HttpsClient(master, verified_context(ca), bearer=token.bearer())
    certificate = _certificate(client, machine, request, wait)
    write_private(directory / PORT_FILE, str(_node_port(client)).encode())
    write_private(directory / CA_FILE, ca)
    write_private(directory / CERTIFICATE_FILE, certificate)
    log.info("joined", extra={"object": machine.node})


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
        raise MasterAway(f"{master}/cacerts answered {status}")
    try:
        authority = first_certificate(body)
        found = pin(authority)
    except CertificateError as error:
        raise JoinFailed(f"{master}/cacerts: {error}") from error
    if found != token.ca_pin:
        raise JoinFailed(
            f"the authority of {master} is not the one that the token names: this may be another "
            "cluster, or somebody in between; nothing was sent"
        )
    return authority


def _node_port(client: HttpsClient) -> int:
    """Where the master listens for nodes; the default for a master that does not say."""
    try:
        found = client.json("GET", "/ports").get("certificates")
    except StatusError as error:
        if error.code != 404:
            raise
        return NODE_PORT
    return found if type(found) is int and 0 < found < 1 << 16 else NODE_PORT


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
            "signerName": SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    }
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    made = client.json("POST", path, body)
    name = made["metadata"]["name"]
    for _ in range(POLLS):
        found = client.json("GET", f"{path}/{name}")
        status = found.get("status", {})
        if status.get("certificate"):
            return base64.b64decode(status["certificate"])
        for condition in status.get("conditions", ()):
            if condition["type"] in ("Denied", "Failed"):
                raise JoinFailed(f"the master refused: {condition.get('message')}")
        wait()
    raise MasterAway("the master has not signed the certificate in time")
