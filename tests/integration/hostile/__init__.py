"""Hostile doubles against a running master: nothing of another node, user or pod is harmed."""
