"""Tests of common/runtime."""
