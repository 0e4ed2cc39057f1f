"""Records for journald with their fields, by its native protocol: `journalctl WHERRY_OBJECT=...`.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ and systemd.journal-fields(7).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from typing import Any

from common.runtime import logs
from common.runtime.logs import LineFormatter, fields_of, printable, text_value

SOCKET = "/run/systemd/journal/socket"
MESSAGE_MAX_BYTES = 32 << 10
"""One datagram takes a record; longer ones would need a file."""
_UNFIT = re.compile(r"[^A-Z0-9_]")


def is_stderr(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what this process writes to stderr goes to journald (systemd.exec(5))."""
    try:
        info = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


def configure(component: str, *, encoding: logs.Encoding = "text") -> None:
    """Send all logs of this process to journald if that is where stderr goes, else to stderr."""
    if encoding == "text" and is_stderr():
        logging.basicConfig(level="INFO", handlers=[JournalHandler(component)], force=True)
    else:
        logs.configure(component, encoding=encoding)


def priority(level: int) -> int:
    """The level of syslog(3) for one of Python's."""
    ranks = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((rank for least, rank in ranks if level >= least), 7)


class JournalHandler(logging.Handler):
    """Sends records to journald; what it cannot take goes to stderr, as a line.

    It never waits: a journald that hangs holds nobody up, and what it misses is counted.
    """

    def __init__(self, component: str, path: str = SOCKET) -> None:
        super().__init__()
        self._component = component
        self._path = path
        self._missed = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._line = LineFormatter(component)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.sendto(self._datagram(record), self._path)
            self._missed = 0
        except BlockingIOError:
            self._missed += 1
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"<{priority(record.levelno)}>{self._line.format(record)}\n")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()

    def _datagram(self, record: logging.LogRecord) -> bytes:
        fields = fields_of(record)
        if self._missed:
            fields["missed"] = self._missed
        said = (f"{text_value(name)}={text_value(value)}" for name, value in fields.items())
        text = " ".join([printable(record.getMessage()), *said])
        record_fields: dict[str, Any] = {
            "MESSAGE": text,
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": self._component,
            "SYSLOG_PID": os.getpid(),
            "WHERRY_COMPONENT": self._component,
            "WHERRY_LOGGER": record.name,
        }
        record_fields |= {
            f"WHERRY_{_UNFIT.sub('_', k.upper())}": value for k, value in fields.items()
        }
        return b"".join(_field(name, str(value)) for name, value in record_fields.items())


def _field(name: str, value: str) -> bytes:
    """A field; its length stands in front of a value that has line breaks."""
    data = value.encode("utf-8", "replace")[:MESSAGE_MAX_BYTES]
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
