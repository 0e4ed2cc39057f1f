"""Tokens of service accounts, on a real master."""
