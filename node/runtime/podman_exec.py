"""Runs a command in a container through Podman, with an end in time and without a thread.

Podman's API cannot end a command: the process of one that takes too long is killed here. Only the
start is bounded in number; a command that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import Sequence
from pathlib import Path

from node.runtime import base
from node.runtime.base import ExecResult
from node.runtime.podman_service import PodmanError, PodmanService

STARTS_AT_ONCE = 4
OUTPUT_MAX_BYTES = 10 << 10
INSPECT_SECONDS = 10.0
NOT_STARTED = (126, 127)
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
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        try:
            async with self._starts:
                path = f"/containers/{container_id}/exec"
                created = await self._service.call_on_loop("POST", path, body=body)
            session = str(created["Id"])
            try:
                async with asyncio.timeout(timeout_seconds or None):
                    output = await self._output(session)
            except TimeoutError:
                await self._kill(session, container_id)
                raise base.ExecTimedOut(base.timed_out_message(command, timeout_seconds)) from None
            return await self._result(session, output)
        except PodmanError as error:
            raise base.ExecFailed(error.message) from error

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
        """How the command ended. One that was not found has an exit code of Podman's own.

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
        text = output.decode("utf-8", "replace")
        code = int(answer["ExitCode"])
        if code in NOT_STARTED and "OCI runtime" in text:
            raise base.ExecFailed(text.strip())
        return ExecResult(code, text)

    async def _kill(self, session: str, container_id: str) -> None:
        """Kill a command that takes too long; what cannot be asked about is left alone."""
        try:
            async with asyncio.timeout(INSPECT_SECONDS):
                answer = await self._service.call_on_loop("GET", f"/exec/{session}/json")
        except (PodmanError, base.RuntimeUnavailable, TimeoutError):
            return
        if answer.get("Running") and answer.get("Pid"):
            kill_in_container(int(answer["Pid"]), container_id)


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
