"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
import sys

from common.api.errors import StatusError
from common.cli import apply, get, logs, token
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
    for verb in (apply, get, logs, token):
        verb.add_parser(verbs)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments, clock=SystemClock(), rng=SystemRng())
    except (ConnectionFailed, StatusError) as error:
        sys.exit(f"wherry: {error}")
