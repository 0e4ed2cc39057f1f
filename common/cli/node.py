"""`wherry node revoke`: end the rights of a machine whose certificate is still valid."""

from __future__ import annotations

import argparse
import os
from typing import Any

from common.api.errors import StatusError
from common.client.https import chosen
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from common.security.csr import NEXT_CERTIFICATE, NODE_CERTIFICATE, REVOKED


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser("node", help="the rights of machines", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    revoke = actions.add_parser(
        "revoke", help="refuse a node's certificate, and end its streams", allow_abbrev=False
    )
    revoke.add_argument("name", help="of the Node")
    revoke.set_defaults(run=run_revoke)


def run_revoke(arguments: argparse.Namespace, *, clock: Clock, rng: Rng) -> None:
    """From now on no certificate counts for the Node, until its machine joins by a new token."""
    said = {NODE_CERTIFICATE: REVOKED, NEXT_CERTIFICATE: None}
    client = chosen(os.environ, arguments.kubeconfig).client()
    path = f"/api/v1/nodes/{arguments.name}"
    try:
        client.json("PATCH", path, {"metadata": {"annotations": said}})
    except StatusError as error:
        if error.code == 404:
            raise SystemExit(f"wherry: there is no node {arguments.name}") from error
        raise
    print(
        f"node {arguments.name} revoked: its streams end within seconds; its pods run on until "
        "they are moved (kubectl drain) or their machine joins again by a new token"
    )
