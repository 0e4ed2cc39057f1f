"""Checks over a real network: servers on this machine that answer well, badly, or never."""
