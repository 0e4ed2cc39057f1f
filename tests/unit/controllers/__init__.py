"""Tests of master.controllers."""
