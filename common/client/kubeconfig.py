"""Kubeconfigs with client certificates, as kubectl and `wherry` read them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from common.security.keypair import KeyPair


class Cluster(NamedTuple):
    """A cluster as kubeconfigs name it."""

    server: str
    authorities: bytes
    """Those of its servers (PEM)."""
    extensions: Sequence[Mapping[str, Any]] = ()


def kubeconfig(cluster: Cluster, user: str, pair: KeyPair) -> bytes:
    """The text of a kubeconfig."""
    described = {
        "server": cluster.server,
        "certificate-authority-data": _encoded(cluster.authorities),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "wherry", "cluster": {**described, "extensions": list(cluster.extensions)}}
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
