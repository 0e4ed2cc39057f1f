"""Starts, asks and ends the child process that runs the user's own scheduler file.

The child is started when the first pod wants it, and anew when the file has changed, when it took
too long, or when it has ended. It dies with the master.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from common.runtime import process
from common.runtime.backoff import Backoff
from common.runtime.clock import Clock
from master.scheduler.cycle import Cycle, Decision
from master.scheduler.own import child, exchange
from master.scheduler.own.exchange import Answer, Mirror, OwnSchedulerFailed, Question
from master.scheduler.pod import PodInfo

log = logging.getLogger(__name__)
LOAD_SECONDS = 10.0
"""How long the file may take to be loaded; its imports count."""
START_SECONDS = 60.0
"""How long Python and NumPy may take to start, on a machine that is busy."""
GRACE_SECONDS = 0.5
"""How long after the limit a child may still say where it was."""
LOOK_SECONDS = 2.0
"""How often the file is looked at while no pod wants it."""
ANSWER_MAX_BYTES = 16 << 20
TRIES = 3
LOADING = Backoff(initial_seconds=1.0, cap_seconds=30.0)

Signature = tuple[int, ...]


class OwnScheduler:
    """Decides about pods as a file says. One pod at a time: callers take turns.

    `seconds` is the limit for each pod. Call `stop` when done.
    """

    def __init__(self, path: str, seconds: float, *, clock: Clock) -> None:
        self._path = str(Path(path).absolute())
        self._seconds = seconds
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._mirror = Mirror()
        self._seen: Signature = ()
        self._refusal = ""
        self._refusals = 0
        self._load_again_at = 0.0

    @property
    def pid(self) -> int | None:
        """The child's process, when there is one."""
        running = self._process
        return running.pid if running is not None and running.returncode is None else None

    async def decide(self, cycle: Cycle, pod: PodInfo) -> Decision:
        """A feasible node, or why there is none. Raises OwnSchedulerFailed; the next call starts
        a new child then if need be.
        """
        for _ in range(TRIES):
            await self._ready()
            alive, steps = cycle.filter(pod)
            if not alive.any():
                return Decision("", cycle.explain(steps))
            question = self._mirror.question(pod, cycle.columns, alive)
            answer = await self._ask(question)
            decision = exchange.conclude(cycle, pod, question, answer)
            if decision is not None:
                return decision
        raise OwnSchedulerFailed(f"{self._path}: the nodes changed while it was deciding")

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the file has become another one, until cancelled."""
        seen = _signature(self._path)
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            now = _signature(self._path)
            if now != seen:
                seen = now
                changed()

    async def stop(self) -> None:
        """End the child, if there is one."""
        running, self._process = self._process, None
        if running is None:
            return
        assert running.stdin is not None
        running.stdin.close()
        if running.returncode is None:
            running.kill()
        await running.wait()

    async def _ready(self) -> None:
        """A child that has loaded the file as it is now."""
        seen = _signature(self._path)
        if self._process is not None and (self.pid is None or seen != self._seen):
            await self.stop()
        if self._process is not None:
            return
        if seen != self._seen:
            self._refusal, self._refusals = "", 0
        if self._refusal and self._clock.monotonic() < self._load_again_at:
            raise OwnSchedulerFailed(self._refusal)
        self._seen = seen
        try:
            await self._start()
        except OwnSchedulerFailed as error:
            self._refusal = str(error)
            self._refusals += 1
            delay = LOADING.delay_seconds(self._refusals)
            self._load_again_at = self._clock.monotonic() + delay
            log.warning("scheduler file not loaded", extra={"error": self._refusal})
            raise
        self._refusal, self._refusals = "", 0

    async def _start(self) -> None:
        command = [sys.executable, "-I", child.__file__]
        command += [self._path, str(self._seconds), str(LOAD_SECONDS)]
        self._mirror = Mirror()
        self._process = await asyncio.create_subprocess_exec(
            *process.bound_to_parent(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=ANSWER_MAX_BYTES,
            env={"PATH": os.environ.get("PATH", os.defpath), "OPENBLAS_NUM_THREADS": "1"},
        )
        log.info("scheduler file loading", extra={"file": self._path, "pid": self._process.pid})
        try:
            line = await self._exchange(b"", START_SECONDS)
            exchange.read(line, None, self._path)
        except BaseException:
            await self.stop()
            raise

    async def _ask(self, question: Question) -> Answer:
        """One question and its answer; a child that is out of step with us is ended."""
        in_step = False
        try:
            body = msgspec.json.encode(question) + b"\n"
            line = await self._exchange(body, self._seconds)
            in_step = not exchange.is_last(line)
            return exchange.read(line, question, self._path)
        finally:
            if not in_step:
                await self.stop()

    async def _exchange(self, body: bytes, seconds: float) -> bytes:
        """The next line of the child, after it was told something; a little grace after the limit
        leaves it the time to say where it was.
        """
        running = self._process
        assert running is not None
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                running.stdin.write(body)
                line = await running.stdout.readline()
        except TimeoutError as error:
            raise exchange.over_time(self._path, seconds) from error
        except ValueError as error:
            raise OwnSchedulerFailed(f"{self._path}: its answer is too long") from error
        if not line.endswith(b"\n"):
            raise exchange.stopped(self._path, await self._status(running))
        return line

    async def _status(self, found: asyncio.subprocess.Process) -> int | None:
        """How a child that says nothing more has ended; None when it has not."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                return await found.wait()
        except TimeoutError:
            return None


def _signature(path: str) -> Signature:
    """Differs when a file was written or replaced; empty when it is not there."""
    try:
        info = Path(path).stat()
    except OSError:
        return ()
    return (info.st_mtime_ns, info.st_size, info.st_ino)
