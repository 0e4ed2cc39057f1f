"""Tests of node/network that need no namespaces."""
