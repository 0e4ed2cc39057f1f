"""The gRPC face of the API: names, errors, addresses; no server."""
