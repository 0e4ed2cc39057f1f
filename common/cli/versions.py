"""`wherry version`: which version of Wherry each part of a cluster is."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from common.client.https import chosen

OWN = "+wherry."
"""Stands in a version of Kubernetes before Wherry's own."""


def add_parser(verbs: Any) -> None:
    """Add the verb's arguments."""
    parser = verbs.add_parser(
        "version", help="the versions of this program, the master and the nodes", allow_abbrev=False
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, **_: object) -> None:
    """Print a line for each part; raises ConnectionFailed and StatusError."""
    print(f"wherry {version('wherry')}")
    client = chosen(os.environ, arguments.kubeconfig).client()
    master = client.json("GET", "/version")
    nodes = client.json("GET", "/api/v1/nodes")["items"]
    for line in lines(master, nodes):
        print(line)


def lines(master: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Master and nodes; who is of another version than the master is named so."""
    kubernetes, own = _parts(str(master.get("gitVersion", "")))
    yield f"master {own} (Kubernetes {kubernetes})"
    for node in nodes:
        info = node.get("status", {}).get("nodeInfo", {})
        kubelet, its = _parts(str(info.get("kubeletVersion", "")))
        name, other = node["metadata"]["name"], "" if its == own else ", unlike the master"
        yield f"node {name} {its or kubelet or 'unknown'}{other}"


def _parts(text: str) -> tuple[str, str]:
    """(version of Kubernetes, version of Wherry) of `v1.36.0+wherry.0.1.0`."""
    kubernetes, _, own = text.partition(OWN)
    return kubernetes, own
