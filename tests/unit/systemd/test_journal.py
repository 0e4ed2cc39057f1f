"""Records as journald gets them: fields, priorities, and lines when it does not listen."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.systemd import journal
from common.systemd.journal import JournalHandler


class Journald:
    """Its end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._handlers: list[JournalHandler] = []

    def handler(self, component: str = "x", path: str = "") -> JournalHandler:
        """One that sends here."""
        self._handlers.append(JournalHandler(component, path or self.path))
        return self._handlers[-1]

    def record(self) -> dict[str, str]:
        """The fields of the next record."""
        rest, found = self._socket.recv(1 << 20), {}
        while rest:
            name, mark, rest = rest.partition(b"\n")
            if b"=" in name:
                name, _, value = name.partition(b"=")
            else:
                size, rest = int.from_bytes(rest[:8], "little"), rest[8:]
                value, mark, rest = rest[:size], rest[size : size + 1], rest[size + 1 :]
            assert mark == b"\n"
            found[name.decode()] = value.decode()
        return found

    def close(self) -> None:
        for one in self._handlers:
            one.close()
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    yield made
    made.close()


def record(message: str, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    return logging.getLogger("node.kubelet").makeRecord(
        "node.kubelet", level, "file.py", 1, message, (), None, extra=extra
    )


def test_a_record_has_its_fields(journald: Journald) -> None:
    handler = journald.handler("wherry-kubelet")
    handler.emit(record("a step\nfailed", object="default/web", error="two\nlines = 2"))
    assert journald.record() == {
        "MESSAGE": 'a step\\u000afailed object=default/web error="two\\nlines = 2"',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "wherry-kubelet",
        "SYSLOG_PID": str(os.getpid()),
        "WHERRY_COMPONENT": "wherry-kubelet",
        "WHERRY_LOGGER": "node.kubelet",
        "WHERRY_OBJECT": "default/web",
        "WHERRY_ERROR": "two\nlines = 2",
    }


@pytest.mark.parametrize(
    ("level", "rank"), [(50, "2"), (40, "3"), (30, "4"), (20, "6"), (10, "7"), (35, "4")]
)
def test_levels_are_priorities(journald: Journald, level: int, rank: str) -> None:
    journald.handler().emit(record("m", level))
    assert journald.record()["PRIORITY"] == rank


def test_an_exception_is_a_field(journald: Journald) -> None:
    one = record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        one.exc_info = sys.exc_info()
    journald.handler().emit(one)
    assert journald.record()["WHERRY_EXCEPTION"].endswith("ValueError: why")


def test_what_nobody_takes_is_a_line(
    journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    journald.handler(path=f"{journald.path}.gone").emit(record("m", object="a"))
    said = capsys.readouterr().err
    assert said.startswith("<4>time=")
    assert said.endswith("component=x logger=node.kubelet message=m object=a\n")


def test_a_journald_that_hangs_holds_nobody_up(journald: Journald) -> None:
    handler = journald.handler()
    for _ in range(5000):
        handler.emit(record("m"))
    missed = handler._missed
    assert missed > 0
    journald.record()
    handler.emit(record("m"))
    for _ in range(5000 - missed - 1):
        journald.record()
    assert journald.record()["WHERRY_MISSED"] == str(missed)


def test_the_journal_is_asked_for_by_where_stderr_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as file:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", file)
        found = os.fstat(file.fileno())
        assert journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:1"})
        assert not journal.is_stderr({})
