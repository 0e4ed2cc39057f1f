"""Runs one lifecycle hook to its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from common.api.types.core_v1 import Container, LifecycleHandler
from common.runtime.clock import Clock
from node.kubelet.spec.handlers import UnknownPort, http_request
from node.probes.base import CheckFailed, Checks, HttpRequest, PlainHttp
from node.runtime.base import ExecFailed, Runtime

HTTP_SECONDS = 0.0
"""No timeout of its own: the grace period and the end of the container cancel a hook."""


class HookFailed(Exception):
    """The hook did not succeed; the message may hold output of the container."""


class HookTools(Protocol):
    """What a hook is run with."""

    @property
    def runtime(self) -> Runtime:
        """Runs commands in containers."""
        ...

    @property
    def checks(self) -> Checks:
        """Sends requests."""
        ...

    @property
    def clock(self) -> Clock:
        """Sleeps."""
        ...


async def run(
    handler: LifecycleHandler,
    container: Container,
    container_id: str,
    address: str,
    tools: HookTools,
) -> None:
    """Run a hook. Raises HookFailed, or RuntimeUnavailable when it must be tried again."""
    if handler.exec is not None:
        command = handler.exec.command
        try:
            ended = await tools.runtime.exec_sync(container_id, command, timeout_seconds=0)
        except ExecFailed as error:
            raise HookFailed(str(error)) from error
        if ended.exit_code:
            raise HookFailed(f"exit code {ended.exit_code}: {ended.output}")
    elif handler.httpGet is not None:
        try:
            request = http_request(handler.httpGet, container, address, "lifecycle")
            await _send(request, tools.checks)
        except (CheckFailed, UnknownPort) as error:
            raise HookFailed(str(error)) from error
    elif handler.sleep is not None:
        await tools.clock.sleep(handler.sleep.seconds)


async def _send(request: HttpRequest, checks: Checks) -> None:
    """Send a hook's request; over plain HTTP, without Authorization, if the server has no HTTPS.

    As Kubernetes' ConsistentHTTPGetHandlers. Raises CheckFailed.
    """
    try:
        await checks.http(request, timeout_seconds=HTTP_SECONDS)
    except PlainHttp:
        headers = [
            (name, value) for name, value in request.headers if name.lower() != "authorization"
        ]
        plain = replace(request, scheme="http", headers=headers)
        await checks.http(plain, timeout_seconds=HTTP_SECONDS)
