"""Fakes that several tests share. A fake of a protocol passes the contract suite of it."""
