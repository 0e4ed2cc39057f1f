"""Kubeconfigs with client certificates, as kubectl and `wherry` read them."""

from __future__ import annotations

import base64

import yaml

from common.client.https import ports_extension
from common.security.ca import KeyPair
from master.config import MasterConfig


def kubeconfig(config: MasterConfig, authorities: bytes, user: str, pair: KeyPair) -> bytes:
    """The text of a kubeconfig for this master; `authorities` are those of its servers (PEM)."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "wherry",
                "cluster": {
                    "server": f"https://{config.advertise_address}:{config.secure_port}",
                    "certificate-authority-data": _encoded(authorities),
                    "extensions": [ports_extension(config.node_port, config.script_port)],
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _encoded(pair.certificate_pem),
                    "client-key-data": _encoded(pair.key_pem),
                },
            }
        ],
        "contexts": [{"name": "wherry", "context": {"cluster": "wherry", "user": user}}],
        "current-context": "wherry",
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
