"""Tests of what the API answers in: tables, discovery, negotiation, paths."""
