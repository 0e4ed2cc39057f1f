"""Runs the probes of one pod: a task each, so that one that hangs holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from common.api.types.core_v1 import Container, Pod, Probe
from node.kubelet.effects.executor import Tools
from node.kubelet.pod import probing
from node.kubelet.pod.memory import PodMemory, ProbeKey
from node.kubelet.pod.outcomes import ProbeAnswered
from node.kubelet.pod.probing import Target
from node.kubelet.spec.env import expand
from node.kubelet.spec.handlers import UnknownPort, http_request, port_of
from node.kubelet.spec.texts import ConfigError
from node.probes.base import CheckFailed
from node.runtime.base import ExecTimedOut, RuntimeFailure

log = logging.getLogger(__name__)
TRIES = 3
PERIOD_SECONDS = 10
TIMEOUT_SECONDS = 1


class Unhealthy(Exception):
    """The probe was answered by a failure."""


class Prober:
    """The probes of one pod. `report` takes every answer."""

    def __init__(
        self, tools: Tools, memory: PodMemory, report: Callable[[ProbeAnswered], None]
    ) -> None:
        self._tools = tools
        self._memory = memory
        self._report = report
        self._tasks: dict[ProbeKey, asyncio.Task[None]] = {}
        self._pod = Pod()
        self._begun = tools.clock.monotonic()

    def follow(self, pod: Pod, targets: Sequence[Target]) -> None:
        """Run exactly these probes: begin those that are new, cancel others."""
        self._pod = pod
        wanted = {target.key: target for target in targets}
        for key in set(self._tasks) - set(wanted):
            self._tasks.pop(key).cancel()
        for key, target in wanted.items():
            if key not in self._tasks or self._tasks[key].done():
                name = f"probe {key.kind} {target.container.name}"
                self._tasks[key] = asyncio.create_task(self._run(target), name=name)

    def close(self) -> None:
        """Stop probing."""
        self.follow(self._pod, ())

    async def _run(self, target: Target) -> None:
        """Probe periodically, until cancelled."""
        clock, probe = self._tools.clock, target.probe
        period = probe.periodSeconds or PERIOD_SECONDS
        await clock.sleep(self._first_wait(target, period))
        while True:
            begun = clock.monotonic()
            success = await self._ask_or_log(target)
            if success is not None:
                self._report(ProbeAnswered(target.key, probe, success))
            await clock.sleep(max(0.0, period - (clock.monotonic() - begun)))

    def _first_wait(self, target: Target, period: float) -> float:
        """What is left of initialDelaySeconds; after a restart of the kubelet up to a period more.

        So the probes of all pods do not run at once then.
        """
        clock, wait = self._tools.clock, 0.0
        began = self._memory.began.get(target.status.id)
        if began is not None:
            age = clock.monotonic() - began
            wait = max(0.0, target.probe.initialDelaySeconds - age)
            if age > clock.monotonic() - self._begun + 1:
                wait += self._tools.rng.random() * period
        return wait

    async def _ask_or_log(self, target: Target) -> bool | None:
        """One answer; a bug counts neither way, and does not end the probe."""
        try:
            return await self._ask(target)
        except Exception:
            log.exception("a probe could not be run", extra={"object": self._pod.metadata.name})
            return None

    async def _ask(self, target: Target) -> bool | None:
        """One answer; None when it could not be had, which counts neither way."""
        title = probing.TITLES[target.key.kind]
        error: Exception | None = None
        for _ in range(TRIES):
            try:
                warning = await self._check(target.probe, target.container, target.key.container_id)
            except (Unhealthy, CheckFailed, ExecTimedOut) as failure:
                self._record(target, "Unhealthy", f"{title} probe failed: {failure}")
                return False
            except (RuntimeFailure, UnknownPort, ConfigError) as failure:
                error = failure
                continue
            if warning:
                self._record(target, "ProbeWarning", f"{title} probe warning: {warning}")
            return True
        self._record(
            target, "Unhealthy", f"{title} probe errored and resulted in unknown state: {error}"
        )
        return None

    def _record(self, target: Target, reason: str, message: str) -> None:
        self._tools.record(self._pod, target.container.name, "Warning", reason, message)

    async def _check(self, probe: Probe, container: Container, container_id: str) -> str:
        """Ask once; answers a warning or nothing. Raises Unhealthy, CheckFailed, RuntimeFailure,
        UnknownPort and ConfigError."""
        tools, seconds = self._tools, probe.timeoutSeconds or TIMEOUT_SECONDS
        address = tools.host.address if self._pod.spec.hostNetwork else self._memory.address
        if probe.exec is not None:
            variables = {variable.name: variable.value for variable in container.env}
            command = [expand(word, variables, "exec.command") for word in probe.exec.command]
            ended = await tools.runtime.exec_sync(container_id, command, timeout_seconds=seconds)
            if ended.exit_code:
                raise Unhealthy(ended.output)
        elif probe.httpGet is not None:
            request = http_request(probe.httpGet, container, address, "probe")
            answer = await tools.checks.http(request, timeout_seconds=seconds)
            if not 200 <= answer.code < 400:
                raise Unhealthy(f"HTTP probe failed with statuscode: {answer.code}")
            if answer.code >= 300:
                return f"Probe terminated redirects, Response body: {answer.body}"
        elif probe.tcpSocket is not None:
            port = port_of(probe.tcpSocket.port, container)
            host = probe.tcpSocket.host or address
            await tools.checks.tcp(host, port, timeout_seconds=seconds)
        elif probe.grpc is not None:
            name = probe.grpc.service or ""
            await tools.checks.grpc(address, probe.grpc.port, name, timeout_seconds=seconds)
        return ""
