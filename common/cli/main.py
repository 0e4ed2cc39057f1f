"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
import os
import sys

from common.api.errors import StatusError
from common.cli import apply, get, logs, proxy, secretkey, token
from common.client.https import ADMIN_KUBECONFIG, ConnectionFailed
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng

PIPE_CLOSED = 141
"""The exit code of a program that SIGPIPE ends."""


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
    for verb in (apply, get, logs, proxy, secretkey, token):
        verb.add_parser(verbs)
    arguments = parser.parse_args()
    try:
        if arguments.local:
            arguments.run(arguments)
        else:
            arguments.run(arguments, clock=SystemClock(), rng=SystemRng())
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads, like `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except (ConnectionFailed, StatusError) as error:
        sys.exit(f"wherry: {error}")
