"""HTTPS: routes, content negotiation, discovery, OpenAPI, watches, Tables. The door to aiohttp."""
