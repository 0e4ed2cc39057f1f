"""The gRPC servers, with client certificates (6444) or without; silent peers are noticed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc
import grpc.aio

from master.apiserver.rpc.calllimits import CallLimiter

KEEPALIVE_MS = 10_000
HANDSHAKE_MS = 10_000
IDLE_MS = 15_000
"""A connection without calls is closed after that where anybody can connect: clients that have
another call connect again by themselves.
"""
STREAMS_MAX = 256
"""Calls at once on one connection; further ones wait in the client."""
REQUEST_MAX_BYTES = 2 << 20
# Lists without a limit are larger than what a client may send.
ANSWER_MAX_BYTES = 256 << 20


CONNECTIONS_MAX = 1_000
NODE_CONNECTIONS_MAX = 10_000
"""Of those with client certificates: a node has two."""


class Certificates(NamedTuple):
    """What a server shows, and whose certificates it takes (PEM)."""

    certificate: bytes
    key: bytes
    client_ca: bytes


class Listener(NamedTuple):
    """Where to listen, and with which certificates; those of now are used for new connections.

    Nobody reaches a method without credentials: services on a listener that asks for no client
    certificates ask for tokens themselves.
    """

    address: str
    certificates: Callable[[], Certificates]
    client_certificates: bool = False
    connections_max: int = CONNECTIONS_MAX


async def serve(
    listener: Listener,
    services: Sequence[Callable[[grpc.aio.Server], None]],
    handlers: Sequence[grpc.GenericRpcHandler],
    limits: CallLimiter,
) -> grpc.aio.Server:
    """Start listening; the caller stops the server. `services` add themselves to it."""
    server = grpc.aio.server(
        interceptors=[limits],
        options=[
            ("grpc.max_allowed_incoming_connections", listener.connections_max),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
            # Pings that a slow moment has held up come in a bunch: no reason to send a peer away.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ("grpc.max_concurrent_streams", STREAMS_MAX),
            ("grpc.max_receive_message_length", REQUEST_MAX_BYTES),
            ("grpc.max_send_message_length", ANSWER_MAX_BYTES),
            ("grpc.so_reuseport", 0),
            # Otherwise what arrives for a call that is not read yet grows with the line's speed.
            ("grpc.http2.bdp_probe", 0),
            *(
                [("grpc.max_connection_idle_ms", IDLE_MS)]
                if not listener.client_certificates
                else []
            ),
        ],
    )
    for add in services:
        add(server)
    server.add_generic_rpc_handlers(tuple(handlers))
    credentials = grpc.dynamic_ssl_server_credentials(
        _configuration(listener.certificates()),
        _changes(listener.certificates),
        require_client_authentication=listener.client_certificates,
    )
    server.add_secure_port(listener.address, credentials)
    await server.start()
    return server


def _configuration(now: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(now.key, now.certificate)], root_certificates=now.client_ca
    )


def _changes(
    certificates: Callable[[], Certificates],
) -> Callable[[], Any]:
    """What gRPC asks at each handshake, in a thread of its own: None while nothing has changed."""
    known = certificates()

    def changed() -> Any:
        nonlocal known
        now = certificates()
        if now == known:
            return None
        known = now
        return _configuration(now)

    return changed
