"""HTTP requests that become something else: SPDY/3.1.

    spdy            frames of SPDY/3.1: bytes in, events out, without IO

kubectl speaks SPDY when it falls back from WebSockets (exec, attach), and for port-forward, where
the newer ones carry it inside a WebSocket.
"""
