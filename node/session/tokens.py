"""Asks the master for tokens of service accounts, as any client of its API would: by Create."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from node.session.control import ControlStream
from protos import cluster_v1_pb2 as pb
from protos import cluster_v1_pb2_grpc

TIMEOUT_SECONDS = 5.0
"""Other pods of the machine wait meanwhile."""
ACCOUNTS = pb.ResourceName(version="v1", plural="serviceaccounts")


class NoToken(Exception):
    """There is no token now; the message says why, in the master's words."""


async def ask(stream: ControlStream, namespace: str, account: str, body: bytes) -> bytes:
    """What a TokenRequest (JSON) is answered. Raises NoToken."""
    wanted = pb.ObjectName(
        resource=ACCOUNTS, namespace=namespace, name=account, subresource="token"
    )
    request = pb.CreateRequest(object=wanted, body=body)
    with stream.using() as channel:
        if channel is None:
            raise NoToken("the master cannot be reached")
        stub: Any = cluster_v1_pb2_grpc.ClusterStub(channel)
        try:
            reply = await stub.Create(request, timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise NoToken(error.details() or error.code().name) from error
        return bytes(reply.object)
