"""The nodes that are connected: what each is told and reports, and sessions through its stream.

The gRPC service that they call is in `apiserver.rpc`.
"""
