"""Runs commands in containers through Podman, and attaches to their first process, threadless.

Podman's API cannot end a command: the process of one that takes too long, or whose user has gone,
is killed here. Only the start is bounded in number; a command that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from node.runtime import base
from node.runtime.base import ExecResult, Stdio
from node.runtime.podman_service import PodmanError, PodmanService
from node.runtime.podman_streams import PodmanStreams

STARTS_AT_ONCE = 4
OUTPUT_MAX_BYTES = 10 << 10
INSPECT_SECONDS = 10.0
NOT_STARTED = (126, 127)
NO_KEYS = ""
"""No keys detach from a terminal: all of them are the program's."""
_HEADER = struct.Struct(">BxxxI")


class PodmanExec:
    """The exec of one Podman service."""

    def __init__(self, service: PodmanService) -> None:
        self._service = service
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)

    async def run(
        self, container_id: str, command: Sequence[str], timeout_seconds: float
    ) -> ExecResult:
        """Run a command and wait for its end. Raises as Runtime.exec_sync does."""
        try:
            session = await self._create(container_id, command, Stdio())
            try:
                async with asyncio.timeout(timeout_seconds or None):
                    output = await self._output(session)
            except TimeoutError:
                await self._kill(session, container_id)
                raise base.ExecTimedOut(base.timed_out_message(command, timeout_seconds)) from None
            return await self._result(session, output)
        except PodmanError as error:
            raise base.ExecFailed(error.message) from error

    async def _create(self, container_id: str, command: Sequence[str], stdio: Stdio) -> str:
        """A command that is not started yet: Podman's name of it. Raises PodmanError."""
        body = {
            "Cmd": list(command),
            "AttachStdin": stdio.stdin,
            "AttachStdout": stdio.stdout,
            "AttachStderr": stdio.stderr,
            "Tty": stdio.terminal,
            "DetachKeys": NO_KEYS,
        }
        async with self._starts:
            path = f"/containers/{container_id}/exec"
            created = await self._service.call_on_loop("POST", path, body=body)
        return str(created["Id"])

    @asynccontextmanager
    async def start(
        self, container_id: str, command: Sequence[str], stdio: Stdio
    ) -> AsyncIterator[PodmanStreams]:
        """Run a command with the streams that are wanted. Raises as Runtime.exec does."""
        try:
            session = await self._create(container_id, command, stdio)
            body = {"Detach": False, "Tty": stdio.terminal}
            opened = self._service.hijacked(f"/exec/{session}/start", body=body)
            streams = None
            async with AsyncExitStack() as connection:
                try:
                    reader, writer = await connection.enter_async_context(opened)
                    streams = PodmanStreams(
                        reader,
                        writer,
                        terminal=stdio.terminal,
                        resize=partial(self._resize, f"/exec/{session}"),
                        exit_code=partial(self._exit_code, session),
                    )
                    yield streams
                finally:  # of one that is being started, too, whoever has left meanwhile
                    if streams is None or not streams.has_ended:
                        await self._kill(session, container_id)
        except PodmanError as error:
            raise base.ExecFailed(error.message) from error

    @asynccontextmanager
    async def attach(self, container_id: str, stdio: Stdio) -> AsyncIterator[PodmanStreams]:
        """The streams of the first process. Raises as Runtime.attach does."""
        wanted = {"stdin": stdio.stdin, "stdout": stdio.stdout, "stderr": stdio.stderr}
        params = {name: str(value).lower() for name, value in wanted.items()}
        params |= {"stream": "true", "logs": "false", "detachKeys": NO_KEYS}
        path = f"/containers/{container_id}"
        try:
            async with self._service.hijacked(f"{path}/attach", params=params) as (reader, writer):
                yield PodmanStreams(
                    reader,
                    writer,
                    terminal=stdio.terminal,
                    resize=partial(self._resize, path),
                    exit_code=_attached,
                )
        except PodmanError as error:
            raise base.AttachFailed(error.message) from error

    async def _resize(self, path: str, width: int, height: int) -> None:
        """Set the size of a terminal; one that is not there yet, or no longer, has none.

        It is not worth the end of what uses the terminal.
        """
        params = {"w": str(width), "h": str(height)}
        with suppress(PodmanError, base.RuntimeUnavailable):
            await self._service.call_on_loop("POST", f"{path}/resize", params=params)

    async def _output(self, session: str) -> bytes:
        """Start the command; what it prints until its end, cut after the bound."""
        output = bytearray()
        body = {"Detach": False, "Tty": False}
        async with self._service.frames(f"/exec/{session}/start", body) as reader:
            while True:
                try:
                    _, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                    chunk = await reader.readexactly(length)
                except asyncio.IncompleteReadError:
                    return bytes(output[:OUTPUT_MAX_BYTES])
                output += chunk[: max(0, OUTPUT_MAX_BYTES - len(output))]

    async def _result(self, session: str, output: bytes) -> ExecResult:
        """How the command ended. One that was not found has an exit code of Podman's own."""
        code = await self._exit_code(session)
        text = output.decode("utf-8", "replace")
        if code in NOT_STARTED and "OCI runtime" in text:
            raise base.ExecFailed(text.strip())
        return ExecResult(code, text)

    async def _exit_code(self, session: str) -> int:
        """How a command that prints nothing more has ended. Raises RuntimeUnavailable.

        Podman forgets a session `exit_command_delay` after its end: on a machine that is so busy
        that nobody has asked by then, the end is unknown.
        """
        try:
            answer = await self._service.call_on_loop("GET", f"/exec/{session}/json")
        except PodmanError as error:
            if "no such exec session" in error.message:
                raise base.RuntimeUnavailable("Podman has forgotten how a command ended") from error
            raise
        if answer.get("Running"):
            raise base.RuntimeUnavailable("Podman was restarted while a command ran")
        return int(answer["ExitCode"])

    async def _kill(self, session: str, container_id: str) -> None:
        """Kill a command that takes too long; what cannot be asked about is left alone."""
        try:
            async with asyncio.timeout(INSPECT_SECONDS):
                answer = await self._service.call_on_loop("GET", f"/exec/{session}/json")
        except (PodmanError, base.RuntimeUnavailable, TimeoutError):
            return
        if answer.get("Running") and answer.get("Pid"):
            kill_in_container(int(answer["Pid"]), container_id)


async def _attached() -> int:
    """The exit code of a container is its status's to tell."""
    return 0


def kill_in_container(pid: int, container_id: str) -> None:
    """KILL a process, if it still is one of that container: its number may be another's by now."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if container_id in Path(f"/proc/{pid}/cgroup").read_text():
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return  # it has ended meanwhile
    finally:
        os.close(descriptor)
