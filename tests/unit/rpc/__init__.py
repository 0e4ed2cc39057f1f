"""The gRPC faces of the master, without a server: streams are tested in tests/integration."""
