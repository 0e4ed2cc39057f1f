"""The fuzzer: random and hostile input from a seed, and what must hold of every answer.

`make fuzz` runs it for long; a short run with a fixed seed is a part of the CI set. What it finds
becomes a test of the room that it belongs to, with the input written out. Nothing here knows the
right answer to an input: only that there is one, in time, and that nobody else is hurt.

The values come from a grammar of our own and not from hypothesis: with as many inputs it reaches
every line of the pure targets that hypothesis reaches and up to nine times as many, in a fraction
of the time. hypothesis is there all the same, in schemathesis, which knows our OpenAPI.
"""
