"""wherry: what an operator needs beside kubectl. One file a verb; this one parses and reports."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from common.api.errors import StatusError
from common.cli import proxy, token
from common.client.https import ConnectionFailed, KubeConfig
from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng

ADMIN_KUBECONFIG = "/etc/wherry/admin.kubeconfig"


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="wherry", description="Operate a Wherry cluster.")
    parser.add_argument(
        "--kubeconfig",
        default=os.environ.get("KUBECONFIG", ADMIN_KUBECONFIG),
        help=f"default: $KUBECONFIG, then {ADMIN_KUBECONFIG}",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    parser.set_defaults(local=False)
    token.add_parser(verbs)
    proxy.add_parser(verbs)
    arguments = parser.parse_args()
    if arguments.local:
        arguments.run(arguments)
        return
    try:
        config = KubeConfig(Path(arguments.kubeconfig))
        arguments.run(arguments, config, clock=SystemClock(), rng=SystemRng())
    except (ConnectionFailed, StatusError) as error:
        sys.exit(f"wherry: {error}")
