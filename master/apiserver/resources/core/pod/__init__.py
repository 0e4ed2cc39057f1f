"""Pods and pod templates: the spec and what is in it, what may change, binding."""
