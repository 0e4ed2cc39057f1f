"""Whether etcd answers and has space, in one line for people: in errors, /readyz and the log."""

import logging
from collections.abc import Callable

from common.etcd.client import EtcdClient
from common.etcd.errors import EtcdError
from common.runtime.clock import Clock

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
SILENT_SECONDS = 6.0
"""After that the master is not ready. A restart of etcd, or an election, takes less."""
FULL = (
    "it is full: only reads and deletes are possible until space is made "
    "(docs/operating.md, A full etcd)"
)
CORRUPT = "its members have different data: restore it from a backup"


class EtcdHealth:
    """Asks etcd every two seconds, through its quorum, by reading `key`.

    `possible_cause` says what may be in etcd's way, such as a full disk; '' for nothing.
    """

    def __init__(
        self, client: EtcdClient, key: bytes, clock: Clock, possible_cause: Callable[[], str]
    ) -> None:
        self._client = client
        self._key = key
        self._clock = clock
        self._possible_cause = possible_cause
        self._answered = clock.monotonic()
        self._cause = ""
        self._is_silent = False
        self._trouble = ""

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self._look()
            self._tell()
            await self._clock.sleep(ASK_SECONDS)

    def silence(self) -> str:
        """Why the master is of no use: etcd has not answered for a while; '' when it has."""
        seconds = self._clock.monotonic() - self._answered
        if seconds < SILENT_SECONDS:
            return ""
        causes = "; ".join(filter(None, (self._cause, self._possible_cause())))
        return f"it has not answered for {seconds:.0f} s" + (f": {causes}" if causes else "")

    def trouble(self) -> str:
        """What is wrong with an etcd that answers; '' for nothing."""
        return self._trouble

    async def _look(self) -> None:
        try:
            await self._client.range(self._key)
            status = await self._client.status()
        except EtcdError as error:
            self._cause = str(error)
            return
        self._answered, self._cause = self._clock.monotonic(), ""
        kinds = {alarm.kind for alarm in status.alarms}
        trouble = CORRUPT if "CORRUPT" in kinds else FULL if "NOSPACE" in kinds else ""
        if trouble and not self._trouble:
            log.error("etcd is in trouble", extra={"cause": trouble})
        elif self._trouble and not trouble:
            log.warning("etcd has recovered", extra={"from": self._trouble})
        self._trouble = trouble

    def _tell(self) -> None:
        """One line when it falls silent, and one when it is back."""
        silence = self.silence()
        if silence and not self._is_silent:
            log.error("etcd is away", extra={"cause": silence})
        elif self._is_silent and not silence:
            log.warning("etcd is back")
        self._is_silent = bool(silence)
