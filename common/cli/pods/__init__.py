"""Verbs about what runs in pods: its output, commands in it, connections to it."""
