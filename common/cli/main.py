"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from common.cli import (
    apply,
    ca,
    certs,
    check,
    completion,
    delete,
    drain,
    get,
    kubeconfig,
    loglevel,
    logs,
    node,
    proxy,
    secretkey,
    token,
    versions,
)
from common.client.https import ADMIN_KUBECONFIG
from common.client.script import guarded
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng

VERBS = (
    apply,
    ca,
    certs,
    check,
    delete,
    drain,
    get,
    kubeconfig,
    loglevel,
    logs,
    node,
    proxy,
    secretkey,
    token,
    versions,
)


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog="wherry", description="Operate a Wherry cluster.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"wherry {version('wherry')}")
    parser.add_argument(
        "--kubeconfig",
        default="",
        help=f"default: $KUBECONFIG, then {ADMIN_KUBECONFIG}",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    parser.set_defaults(local=False)
    for verb in VERBS:
        verb.add_parser(verbs)
    completion.add_parser(verbs, parser)
    arguments = parser.parse_args()
    if arguments.local:
        guarded(lambda: arguments.run(arguments), "wherry: ")
    else:
        clock, rng = SystemClock(), SystemRng()
        guarded(lambda: arguments.run(arguments, clock=clock, rng=rng), "wherry: ")
