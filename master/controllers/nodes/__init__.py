"""Nodes that are lost or tainted, and the pods on them."""
