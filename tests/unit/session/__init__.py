"""Tests of node/session."""
