"""Process things: clock, random numbers, offload, back-off, configuration, logging, TLS files.

The only room that may ask the operating system for the time or for randomness.
"""
