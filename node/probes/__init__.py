"""Asks containers over the network how they are: HTTP, TCP and gRPC. What follows from the answers
is the kubelet's; commands in containers are the runtime's."""
