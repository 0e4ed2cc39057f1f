"""Benchmarks: ratios and CPU per operation in one run. No pass or fail by wall clock.

`make bench` (`python -m tests.bench`) prints the report, with the targets beside. The parts that
need root start a cluster of one node with deploy/local; without root they are left out, and it says
so.
"""
