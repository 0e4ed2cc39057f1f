"""The fuzzer: random and hostile input from a seed, and what must hold of every answer.

`make fuzz` runs it for long; a short run with a fixed seed is a part of the CI set. What it finds
becomes a test of the room that it belongs to, with the input written out. Nothing here knows the
right answer to an input: only that there is one, in time, and that nobody else is hurt.
"""
