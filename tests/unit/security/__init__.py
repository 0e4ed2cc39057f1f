"""Tests of common/security."""
