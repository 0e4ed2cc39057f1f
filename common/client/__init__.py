"""The API client library: connect, informers, listers, work queue, event recorder.

    async with connect() as client:
        pods = await client.list(client.resource("pods"), "default")

docs/client-library.md shows more. Nothing here decides anything; reconcilers live with their
owners.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from common.client.informer import Informer, Item, Lister
from common.client.workqueue import WorkQueue
from common.runtime.clock import SystemClock

if TYPE_CHECKING:
    from common.client.grpc import GrpcClient

__all__ = ["Informer", "Item", "Lister", "SystemClock", "WorkQueue", "connect"]


def connect(kubeconfig: str = "") -> GrpcClient:
    """A client of the master that the environment or the kubeconfig names.

    WHERRY_URL, WHERRY_TOKEN and WHERRY_CA win over $KUBECONFIG; on a master, neither is needed.
    Raises common.client.https.ConnectionFailed when nothing says where the master is.
    """
    from common.client import grpc

    return grpc.GrpcClient(grpc.channel(grpc.settings(os.environ, kubeconfig)))
