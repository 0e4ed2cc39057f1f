"""Conversations over HTTP, on a server of aiohttp and loopback."""
