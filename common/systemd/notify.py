"""Readiness and life, by sd_notify(3) and WatchdogSec= of systemd.service(5)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Self

from common.runtime.clock import Clock

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
WATCHDOG_SHARE = 3
"""How many signs of life there are in the time that systemd waits for one."""


class Notifier:
    """Tells systemd of this process; silent when systemd has not asked."""

    def __init__(self, address: str, watchdog_seconds: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the environment of this process asks for."""
        microseconds = environment.get(_WATCHDOG, "")
        is_meant = environment.get(_WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        seconds = int(microseconds) / 1e6 if microseconds.isdigit() and is_meant else 0.0
        return cls(environment.get(_SOCKET, ""), seconds)

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """The same, and take it out of the environment: children do not speak for this process."""
        made = cls.of(environment)
        for name in (_SOCKET, _WATCHDOG, _WATCHDOG_PID):
            environment.pop(name, None)
        return made

    def ready(self, status: str) -> None:
        """The service is up; `status` is what `systemctl status` shows of it, on one line."""
        self._tell(f"READY=1\nSTATUS={' '.join(status.split())}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """A sign of life."""
        if self._watchdog_seconds:
            self._tell("WATCHDOG=1")

    async def keep_alive(self, clock: Clock) -> None:
        """Give signs of life from the event loop, until cancelled: one that hangs gives none."""
        while True:
            self.alive()
            await clock.sleep(self._watchdog_seconds / WATCHDOG_SHARE or float("inf"))

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            try:
                out.sendto(text.encode(), self._address)
            except OSError:
                pass  # systemd is being executed anew, say: it asks again by its time-outs
