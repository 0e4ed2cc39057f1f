"""One change of an object, and a thousand HTTPS watchers of it: how long until the last has it.

A watcher has a change when its bytes are in its socket. The clients share the machine with the
master, and to decrypt a thousand times in Python takes longer than the master takes to encrypt;
so the time is when a socket has something to read, and all are read when all have something. A
change is one TLS record, sent by one call: it is there whole or not at all. If what is read is
something else, the watcher counts as without the change until more has come.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import statistics
import time
from collections.abc import Iterator

from tests.bench.measure import Row, percentile
from tests.bench.processes import cpu_seconds, pid_of, rss_mib, running_master
from tests.servers.master import RunningMaster

WATCHERS = 1_000
CHANGES = 30
WARM_UP = 3
TARGET_MS = 50
DEADLINE_SECONDS = 30.0
GRAIN_SECONDS = 0.001
"""Times are late by up to this, so that the clients do not take the master's time by looking."""
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def rows() -> Iterator[Row]:
    """The part of the report; one client process without an event loop, so that it costs little."""
    with running_master() as master:
        made = master.admin().json("POST", CONFIG_MAPS, {"metadata": {"name": "seen"}, "data": {}})
        alone_mib = rss_mib(pid_of(master))
        fan = _Fan(master, made["metadata"]["resourceVersion"])
        for turn in range(WARM_UP):
            fan.change(f"warm-{turn}")
        grown_mib = rss_mib(pid_of(master)) - alone_mib
        before = cpu_seconds(pid_of(master))
        measured = [fan.change(f"turn-{turn}") for turn in range(CHANGES)]
        spent_us = (cpu_seconds(pid_of(master)) - before) * 1e6
        fan.close()
    for title, times in zip(("sent", "answered"), zip(*measured, strict=True), strict=True):
        tail = percentile(times, 99)
        text = f"p50 {statistics.median(times):.0f} ms, p99 {tail:.0f} ms"
        target = f"p99 {TARGET_MS} ms" if title == "answered" else ""
        yield Row(f"write {title} to last of {WATCHERS} TLS watchers", text, target)
    yield Row("  master's CPU a watcher and event", f"{spent_us / CHANGES / WATCHERS:.0f} us")
    yield Row("  master's memory a watcher", f"{grown_mib * 1024 / WATCHERS:.0f} KiB")


class _Fan:
    """The watchers and a writer, on sockets that are read when they have something."""

    def __init__(self, master: RunningMaster, revision: str) -> None:
        self._address = ("127.0.0.1", master.port)
        self._context = master.context(master.kubeconfig.certificate)
        self._poll = select.epoll()
        self._watchers: dict[int, ssl.SSLSocket] = {}
        self._unread: dict[int, bytes] = {}
        query = f"watch=1&resourceVersion={revision}"
        for _ in range(WATCHERS):
            made = self._connect()
            made.sendall(f"GET {CONFIG_MAPS}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self._watchers[made.fileno()] = made
        self._writer = self._connect()
        for number, made in [*self._watchers.items(), (self._writer.fileno(), self._writer)]:
            made.setblocking(False)
            # Edge-triggered: what was told and is not read yet is not told again.
            self._poll.register(number, select.EPOLLIN | select.EPOLLET)

    def change(self, mark: str) -> tuple[float, float]:
        """Milliseconds until every watcher has a change: since it was sent, and answered."""
        self._unread = dict.fromkeys(self._watchers, b"")
        missing, unread = set(self._watchers), set[int]()
        body = json.dumps({"data": {"mark": mark}})
        head = (
            f"PATCH {CONFIG_MAPS}/seen HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/merge-patch+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        sent = time.monotonic()
        answered = last = 0.0
        self._writer.send((head + body).encode())
        while missing or not answered:
            assert time.monotonic() < sent + DEADLINE_SECONDS, f"{len(missing)} have no {mark}"
            time.sleep(GRAIN_SECONDS)
            told = {number for number, _ in self._poll.poll(1.0)}
            now = time.monotonic()
            if self._writer.fileno() in told and (answer := _read(self._writer)):
                assert answer.startswith(b"HTTP/1.1 200"), answer
                answered = now
            if arrived := told & missing:
                unread |= arrived
                last = now
            if unread >= missing:
                missing = {number for number in missing if not self._has(number, mark)}
                unread.clear()
        return (last - sent) * 1000, max(0.0, last - answered) * 1000

    def _has(self, number: int, mark: str) -> bool:
        """Read what a watcher has got; whether the change is in it."""
        self._unread[number] += _read(self._watchers[number])
        return f'"{mark}"'.encode() in self._unread[number]

    def close(self) -> None:
        """End all connections."""
        for made in (*self._watchers.values(), self._writer):
            made.close()
        self._poll.close()

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(self._address, timeout=DEADLINE_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(plain, server_hostname="127.0.0.1")


def _read(made: ssl.SSLSocket) -> bytes:
    """Everything that waits, decrypted; b"" when it was no data."""
    pieces = []
    try:
        while piece := made.recv(65536):
            pieces.append(piece)
        raise AssertionError("the master has closed a connection")
    except ssl.SSLWantReadError:
        return b"".join(pieces)
