"""gRPC: the stream that nodes hold with the master, and their sessions."""
