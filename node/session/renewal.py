"""Keeps this node's certificate fresh: a new one at two thirds of its life, or when the master
wants it; by a new join token when it has expired or is not taken any more, or when no master is
reached by it and the token is younger.

Pods run on meanwhile. What to do is decided by `decide`; a process of its own does it (enroll.py).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path

from common.runtime.backoff import Backoff
from common.runtime.clock import Clock, sleep_or_event
from common.runtime.reasons import reason
from common.runtime.rng import Rng
from common.security.digest import digest
from node.session import credentials
from node.session.credentials import IDENTITY_FILE, Credentials, Held

log = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
"""How often it is looked for a new token, and at the clock: a machine may have slept."""
RETRY = Backoff(initial_seconds=2.0, cap_seconds=300.0, jitter=0.5)
ENROLL_SECONDS = 60.0
ENROLL = "node.session.enroll"
AWAY, REFUSED = 75, 78
"""Its exit status where the master may answer later (EX_TEMPFAIL), and where it has said no."""

Enroll = Callable[[str], Awaitable[tuple[int, str]]]
"""Renews the certificate, or joins by that token file: (exit status, why it failed)."""


class Step(Enum):
    """What is to be done about a certificate."""

    NOTHING = "nothing"
    RENEW = "renew"
    JOIN = "join"
    TELL = "tell"
    """Only a person can help: a new token is needed."""


@dataclass(slots=True)
class Situation:
    """What the decision depends on."""

    now: datetime
    renew: datetime
    expires: datetime
    wanted: bool = False
    """The master wants it renewed."""
    refused: bool = False
    """The master does not take it."""
    cut_off: bool = False
    """No master is reached by it, and a token was brought since it was issued."""
    new_token: bool = False
    """There is a token that was not tried yet."""


def decide(at: Situation) -> Step:
    """What is to be done now."""
    if at.refused or at.now >= at.expires:
        return Step.JOIN if at.new_token else Step.TELL
    if at.cut_off and at.new_token:
        return Step.JOIN
    return Step.RENEW if at.wanted or at.now >= at.renew else Step.NOTHING


class Renewal:
    """The one who replaces the credentials of a node."""

    def __init__(
        self,
        directory: Path,
        held: Held,
        token_file: str,
        enroll: Enroll,
        connected: Callable[[], bool],
        *,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._directory = directory
        self._held = held
        self._token_file = token_file
        self._enroll = enroll
        self._connected = connected
        self._looks_alone = 0
        self._clock = clock
        self._rng = rng
        self._wanted = False
        self._refused = False
        self._tried = ""
        """The digest of a token that the master has refused."""
        self._told: Credentials | None = None
        self._event = asyncio.Event()

    def wanted(self) -> None:
        """The master wants a new certificate."""
        self._wanted = True
        self._event.set()

    def refused(self) -> None:
        """The master does not take the present certificate."""
        self._refused = True
        self._event.set()

    async def run(self) -> None:
        """Renew until cancelled."""
        failures = 0
        while True:
            self._event.clear()
            step = decide(self._situation())
            if step in (Step.RENEW, Step.JOIN):
                failures = 0 if await self._try(step) else failures + 1
            else:
                failures = 0
                if step is Step.TELL:
                    self._tell()
            seconds = max(LOOK_SECONDS, RETRY.delay_seconds(failures, self._rng.random()))
            await sleep_or_event(self._clock, seconds, self._event)

    def _situation(self) -> Situation:
        present, now = self._held.current, self._clock.now()
        if self._connected():  # whatever was wrong is over
            self._refused, self._looks_alone = False, 0
        else:
            self._looks_alone += 1
        cut_off = self._looks_alone > 1 and self._token_is_younger()
        needed = self._refused or cut_off or now >= present.expires
        token = _digest_of(self._token_file) if needed else ""
        used = credentials.joined_by(self._directory)
        return Situation(
            now=now,
            renew=present.renew,
            expires=present.expires,
            wanted=self._wanted,
            refused=self._refused,
            cut_off=cut_off,
            new_token=bool(token) and token not in (self._tried, used),
        )

    def _token_is_younger(self) -> bool:
        """The token by which the machine got its certificate may still be there."""
        try:
            written = Path(self._token_file).stat().st_mtime_ns if self._token_file else 0
            return written > (self._directory / IDENTITY_FILE).stat().st_mtime_ns
        except OSError:
            return False

    async def _try(self, step: Step) -> bool:
        """Renew or join; whether the certificate is another one now."""
        token_file = self._token_file if step is Step.JOIN else ""
        token = _digest_of(token_file)
        status, why = await self._enroll(token_file)
        if status:
            if token and status == REFUSED:
                self._tried = token
            log.warning("the certificate was not renewed", extra={"error": why})
            return False
        new = credentials.load(self._directory)
        assert new is not None
        log.info("a new certificate", extra={"expires": new.expires.isoformat()})
        self._wanted = self._refused = False
        self._held.replace(new)
        return True

    def _tell(self) -> None:
        """Say once of each certificate what a person must do."""
        present = self._held.current
        if self._told is present:
            return
        self._told = present
        why = "was refused" if self._refused else f"expired at {present.expires.isoformat()}"
        where = f"into {self._token_file}" if self._token_file else "and set --token-file"
        log.error(
            "this node needs a new join token; its pods run on",
            extra={"why": f"its certificate {why}", "what": f"put a new join token {where}"},
        )


def _digest_of(token_file: str) -> str:
    """By which a token is known again; nothing when there is none."""
    token = _content(token_file)
    return digest(token.encode()) if token else ""


def _content(file: str) -> str:
    """What stands in a file; nothing when there is none."""
    try:
        return Path(file).read_text("utf-8").strip() if file else ""
    except (OSError, UnicodeError) as error:
        if not isinstance(error, FileNotFoundError):
            log.warning(
                "cannot read the join token", extra={"object": file, "error": reason(error)}
            )
        return ""


def by_process(directory: Path, master: str, node: str, machine_id: str) -> Enroll:
    """Enrolls in a process of its own."""
    return partial(
        _run,
        (
            *(sys.executable, "-m", ENROLL),
            *("--directory", str(directory), "--master", master),
            *("--node", node, "--machine-id", machine_id),
        ),
    )


async def _run(command: tuple[str, ...], token_file: str) -> tuple[int, str]:
    more = ("--token-file", token_file) if token_file else ()
    process = await asyncio.create_subprocess_exec(
        *command, *more, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(ENROLL_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        return AWAY, f"the master has not answered within {ENROLL_SECONDS:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return process.returncode or 0, lines[-1] if lines else f"status {process.returncode}"
