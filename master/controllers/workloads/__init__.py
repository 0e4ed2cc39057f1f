"""Deployments, ReplicaSets, ReplicationControllers."""
