"""Strangers who begin TLS all at once, and how long another client waits for a GET meanwhile."""

from __future__ import annotations

import http.client
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

from tests.bench.measure import Row
from tests.bench.processes import running_master
from tests.servers.master import RunningMaster

STRANGERS = 300
ROUNDS = 9
ROUND_SECONDS = 1.0


def rows() -> Iterator[Row]:
    """The part of the report."""
    with running_master() as master:
        for what, strangers in (("nobody else", 0), (f"{STRANGERS} strangers", STRANGERS)):
            waits = [_round(master, strangers) * 1e3 for _ in range(ROUNDS)]
            text = f"median {statistics.median(waits):.0f} ms, most {max(waits):.0f} ms"
            yield Row(f"the longest of a client's GETs: {what}", text, "50 ms")


def _round(master: RunningMaster, strangers: int) -> float:
    """The longest that one GET of a connected client took, in seconds."""
    hello = _hello()
    with ExitStack() as stack:
        address = ("127.0.0.1", master.port)
        there = [stack.enter_context(socket.create_connection(address)) for _ in range(strangers)]
        client = stack.enter_context(closing(master.connection(master.kubeconfig.certificate)))
        _get(client)
        timer = threading.Timer(ROUND_SECONDS / 4, _say, (there, hello))
        timer.start()
        end, longest = time.monotonic() + ROUND_SECONDS, 0.0
        while time.monotonic() < end:
            longest = max(longest, _get(client))
        timer.join()
        for each in there:
            assert each.recv(1), "the key exchange is done"
    return longest


def _hello() -> bytes:
    """A client's first bytes; who reuses them gets an answer, and no further."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="master")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("nobody has answered")


def _say(there: list[socket.socket], hello: bytes) -> None:
    for each in there:
        each.sendall(hello)


def _get(client: http.client.HTTPSConnection) -> float:
    start = time.monotonic()
    client.request("GET", "/livez")
    client.getresponse().read()
    return time.monotonic() - start


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what:<58} {row.measured:<48} {row.target}", flush=True)
