"""HTTP requests that become something else: byte pipes, and SPDY/3.1 spoken on them.

    negotiation     which protocol is taken of those that a client offers
    pipes           the raw connection after `101 Switching Protocols`, or a WebSocket, as bytes
    spdy            frames of SPDY/3.1: bytes in, events out, without IO
    spdystreams     the streams of one connection, for tasks that read and write them

kubectl speaks SPDY when it falls back from WebSockets (exec, attach), and for port-forward, where
the newer ones carry it inside a WebSocket.
"""
