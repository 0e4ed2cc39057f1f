"""Volumes of pods on this machine."""
