"""Kinds of the group apps, and `scale`."""
