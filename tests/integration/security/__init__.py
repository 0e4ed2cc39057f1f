"""Credentials, permissions and private files, on a real master."""
