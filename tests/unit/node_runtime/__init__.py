"""Tests of node/runtime that need no runtime."""
