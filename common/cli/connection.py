"""What `wherry get`, `apply` and `logs` have in common: the namespace flag and the connection."""

from __future__ import annotations

import argparse
import os

from common.client.grpc import GrpcClient, channel, settings


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """Add -n."""
    parser.add_argument("-n", "--namespace", default="default", help="default: default")


def client(arguments: argparse.Namespace) -> GrpcClient:
    """A client of the master that flags, environment or kubeconfig name; needs a running loop."""
    return GrpcClient(channel(settings(os.environ, arguments.kubeconfig)))
