"""Conversations over HTTP: connections that are upgraded to WebSocket or SPDY.

What they are about is the registry's: `duplex.py`.
"""
