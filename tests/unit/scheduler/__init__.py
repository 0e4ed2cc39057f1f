"""Tests of master.scheduler."""
