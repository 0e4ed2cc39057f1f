"""What the master tells nodes: unit tests. Streams are tested in tests/integration."""
