"""Conversations over HTTP: requests whose connections are upgraded to WebSocket or to SPDY/3.1.

    remote_commands      exec and attach; websocket_channels and spdy_channels are their clients
    port_forwards        connections to pods, by SPDY streams; websocket_ports is the older way
    websocket_logs       logs, for clients that ask for a WebSocket
    outcomes             how a command has ended, and terminal sizes, as bytes
    negotiation          which protocol is taken of those that a client offers
    pipes                the raw connection after a 101, or a WebSocket, as bytes
    spdy, dictionary     frames of SPDY/3.1: bytes in, events out, without IO
    spdystreams          the streams of one connection, for tasks that read and write them

Each kubectl may ask for either: newer ones begin with a WebSocket and fall back to SPDY. What the
conversations are about is the registry's: `duplex.py`.
"""
