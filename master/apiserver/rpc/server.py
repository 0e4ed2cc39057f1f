"""The gRPC server on 6444: mutual TLS required, keepalive that notices silent peers."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio

from master.apiserver.rpc.nodes import NodeService
from protos import node_v1_pb2_grpc

KEEPALIVE_MS = 10_000
MESSAGE_MAX_BYTES = 4 << 20


async def serve(
    service: NodeService,
    handlers: Sequence[grpc.GenericRpcHandler],
    address: str,
    *,
    certificate: bytes,
    key: bytes,
    client_ca: bytes,
) -> grpc.aio.Server:
    """Start listening; the caller stops the server. Certificates and keys are PEM."""
    server = grpc.aio.server(
        options=[
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
            ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
            ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
            ("grpc.so_reuseport", 0),
        ]
    )
    node_v1_pb2_grpc.add_NodeServiceServicer_to_server(service, server)
    server.add_generic_rpc_handlers(tuple(handlers))
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=True
    )
    server.add_secure_port(address, credentials)
    await server.start()
    return server
