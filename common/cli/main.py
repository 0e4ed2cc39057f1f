"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
import sys

from common.api.errors import StatusError
from common.cli import apply, get, logs, proxy, token
from common.client.https import ADMIN_KUBECONFIG, ConnectionFailed
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="wherry", description="Operate a Wherry cluster.")
    parser.add_argument(
        "--kubeconfig",
        default="",
        help=f"default: $KUBECONFIG, then {ADMIN_KUBECONFIG}",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    parser.set_defaults(local=False)
    for verb in (apply, get, logs, proxy, token):
        verb.add_parser(verbs)
    arguments = parser.parse_args()
    if arguments.local:
        arguments.run(arguments)
        return
    try:
        arguments.run(arguments, clock=SystemClock(), rng=SystemRng())
    except (ConnectionFailed, StatusError) as error:
        sys.exit(f"wherry: {error}")
