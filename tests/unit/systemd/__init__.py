"""Tests of common/systemd."""
