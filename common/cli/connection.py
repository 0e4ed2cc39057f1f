"""What `wherry get`, `apply` and `logs` have in common: the namespace flag and the connection."""

from __future__ import annotations

import argparse
import os
import sys

from common.client.grpc import GrpcClient, channel, settings


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """Add -n."""
    parser.add_argument(
        "-n", "--namespace", default="default", help="the namespace; default: default"
    )


def client(arguments: argparse.Namespace) -> GrpcClient:
    """A client of the master that flags, environment or kubeconfig name; needs a running loop.

    What the API server warns of goes to stderr, each text once.
    """
    made = GrpcClient(channel(settings(os.environ, arguments.kubeconfig)))
    told: set[str] = set()

    def warn(text: str) -> None:
        if text not in told:
            told.add(text)
            print(f"Warning: {text}", file=sys.stderr, flush=True)

    made.warn = warn
    return made
