"""Runs the probes of pods. What their results come to is in `pod.probing`."""
