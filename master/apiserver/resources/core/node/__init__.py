"""Nodes: their rules, the addresses that they may say, and what they may not write."""
