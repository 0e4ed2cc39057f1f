"""gRPC for scripts on a real master: the Cluster service, the client library, the examples."""
