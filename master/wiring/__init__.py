"""Puts a master together: which part gets which, and which parts run.

`build` begins; nothing else here is asked from outside. No part's own work belongs here.
"""
