"""Namespaces, and their end."""
