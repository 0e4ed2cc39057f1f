"""`wherry certs`: which certificate ends when, and who renews it."""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from common.api import times
from common.cli.credentials.kubeconfig import SECRETS, text_of
from common.client.https import ADMIN_KUBECONFIG, HttpsClient, KubeConfig, chosen
from common.runtime.clock import Clock
from common.runtime.reasons import reason
from common.runtime.rng import Rng
from common.security.ca import CertificateError, certificates_in
from common.security.csr import EXPIRES as NODE_EXPIRES
from common.security.csr import NODE_CERTIFICATE, REVOKED
from common.security.identity import identity_from_pem
from common.security.kubeconfigs import EXPIRES, GROUP, NAME_PREFIX, SECRET_TYPE
from common.security.validity import validity

ITSELF = "renewed by itself"
ROTATE = "wherry ca rotate"
AGAIN = "wherry kubeconfig create"
LOCAL = {
    "authority of clients": ("pki/client-ca/ca.crt", ROTATE),
    "authority of etcd": ("etcd/pki/ca.crt", "with the master's data"),
    "etcd": ("etcd/pki/server.crt", ITSELF),
}
"""What only the master's machine knows: files below its data directory."""


class Line(NamedTuple):
    """A certificate, its end in RFC 3339, and what is done about it."""

    name: str
    expires: str
    how: str


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("certs", help="which certificate ends when", allow_abbrev=False)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """Print all of them, the first to end first."""
    config = chosen(os.environ, arguments.kubeconfig)
    client = config.client()
    lines = [
        *_of_master(config),
        *_of_files(Path(ADMIN_KUBECONFIG).parent),
        *_of_nodes(client),
        *_of_kubeconfigs(client),
    ]
    print(f"{'CERTIFICATE':<36}{'EXPIRES':<24}RENEWAL")
    now = times.to_time(clock.now())
    for line in sorted(lines, key=lambda one: one.expires):
        late = " (expired)" if line.expires and line.expires < now else ""
        print(f"{line.name:<36}{line.expires or '-':<24}{line.how}{late}")


def _of_master(config: KubeConfig) -> Iterator[Line]:
    parts = urlsplit(config.server)
    serving = ssl.get_server_certificate((parts.hostname or "", parts.port or 6443))
    yield _line("master", serving.encode(), ITSELF)
    for number, pem in enumerate(certificates_in(config.ca_pem)):
        yield _line("authority of servers" + (" (other)" if number else ""), pem, ROTATE)
    if config.certificate is not None:
        pem = config.certificate.certificate_pem
        how = AGAIN if GROUP in identity_from_pem(pem).groups else ITSELF
        yield _line("this kubeconfig", pem, how)


def _of_files(directory: Path) -> Iterator[Line]:
    for name, (file, how) in LOCAL.items():
        try:
            pem = (directory / file).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            sys.stderr.write(f"wherry: {name} is left out: {reason(error)}\n")
            continue
        yield _line(name, pem, how)


def _line(name: str, pem: bytes, how: str) -> Line:
    try:
        return Line(name, times.to_time(validity(pem).expires), how)
    except CertificateError as error:
        return Line(name, "", str(error))


def _of_nodes(client: HttpsClient) -> Iterator[Line]:
    for node in client.json("GET", "/api/v1/nodes")["items"]:
        said = node["metadata"].get("annotations", {})
        name = f"node {node['metadata']['name']}"
        if said.get(NODE_CERTIFICATE) == REVOKED:
            yield Line(name, "", "revoked")
        else:
            yield Line(name, said.get(NODE_EXPIRES, ""), ITSELF)


def _of_kubeconfigs(client: HttpsClient) -> Iterator[Line]:
    for secret in client.json("GET", f"{SECRETS}?fieldSelector=type%3D{SECRET_TYPE}")["items"]:
        name = secret["metadata"]["name"].removeprefix(NAME_PREFIX)
        yield Line(f"kubeconfig {name}", text_of(secret, EXPIRES), AGAIN)
