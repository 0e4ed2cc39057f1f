"""Ports for programs that tests start, and that must be told theirs before they listen."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, COUNT = 20_000, 10_000
"""Linux takes the ports of outgoing connections from 32768 on: of those, one that was free a moment
ago may be another connection's when a program comes to listen."""
_numbers = itertools.count(os.getpid() * 37)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now; this process gives each once."""
    tried = (FIRST + number % COUNT for number in itertools.islice(_numbers, COUNT))
    found = list(itertools.islice(filter(_is_free, tried), count))
    assert len(found) == count, "no port is free"
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
