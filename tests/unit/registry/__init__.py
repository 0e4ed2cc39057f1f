"""Tests of the registry's rules."""
