"""Runs the probes of one pod: a task each, so that one that hangs holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from common.api.types.core_v1 import Container, Pod, Probe
from node.kubelet.effects.executor import Tools
from node.kubelet.pod import probing
from node.kubelet.pod.env import expand
from node.kubelet.pod.handlers import UnknownPort, http_request, port_of
from node.kubelet.pod.memory import Key, PodMemory
from node.kubelet.pod.outcomes import ProbeAnswered
from node.kubelet.pod.probing import Target
from node.kubelet.pod.texts import ConfigError
from node.probes.base import CheckFailed
from node.runtime.base import ExecTimedOut, RuntimeFailure

log = logging.getLogger(__name__)
TRIES = 3
PERIOD_SECONDS = 10
TIMEOUT_SECONDS = 1


class Unhealthy(Exception):
    """The container answered, and is not well."""


class Prober:
    """The probes of one pod. `report` takes every answer."""

    def __init__(
        self, world: Tools, memory: PodMemory, report: Callable[[ProbeAnswered], None]
    ) -> None:
        self._world = world
        self._memory = memory
        self._report = report
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._pod = Pod()
        self._born = world.clock.monotonic()

    def follow(self, pod: Pod, targets: Sequence[Target]) -> None:
        """Run these probes and no others."""
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
        """Ask again and again, until cancelled."""
        clock, probe = self._world.clock, target.probe
        period = probe.periodSeconds or PERIOD_SECONDS
        await clock.sleep(self._first_wait(target, period))
        while True:
            begun = clock.monotonic()
            success = await self._guarded_ask(target)
            if success is not None:
                self._report(ProbeAnswered(target.key, probe, success))
            await clock.sleep(max(0.0, period - (clock.monotonic() - begun)))

    def _first_wait(self, target: Target, period: float) -> float:
        """What is left of the initial delay. A kubelet that has just begun spreads its probes."""
        clock, wait = self._world.clock, 0.0
        began = self._memory.began.get(target.status.id)
        if began is not None:
            age = clock.monotonic() - began
            wait = max(0.0, target.probe.initialDelaySeconds - age)
            if age > clock.monotonic() - self._born + 1:
                wait += self._world.rng.random() * period
        return wait

    async def _guarded_ask(self, target: Target) -> bool | None:
        """One answer; a mistake of ours counts neither way, and ends no probe."""
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
                self._tell(target, "Unhealthy", f"{title} probe failed: {failure}")
                return False
            except (RuntimeFailure, UnknownPort, ConfigError) as failure:
                error = failure
                continue
            if warning:
                self._tell(target, "ProbeWarning", f"{title} probe warning: {warning}")
            return True
        self._tell(
            target, "Unhealthy", f"{title} probe errored and resulted in unknown state: {error}"
        )
        return None

    def _tell(self, target: Target, reason: str, message: str) -> None:
        self._world.record(self._pod, target.container.name, "Warning", reason, message)

    async def _check(self, probe: Probe, container: Container, container_id: str) -> str:
        """Ask once; answers a warning or nothing. Raises Unhealthy and what the doors raise."""
        world, seconds = self._world, probe.timeoutSeconds or TIMEOUT_SECONDS
        address = world.host.address if self._pod.spec.hostNetwork else self._memory.address
        if probe.exec is not None:
            variables = {variable.name: variable.value for variable in container.env}
            command = [expand(word, variables, "exec.command") for word in probe.exec.command]
            ended = await world.runtime.exec_sync(container_id, command, timeout_seconds=seconds)
            if ended.exit_code:
                raise Unhealthy(ended.output)
        elif probe.httpGet is not None:
            request = http_request(probe.httpGet, container, address, "probe")
            answer = await world.checks.http(request, timeout_seconds=seconds)
            if not 200 <= answer.code < 400:
                raise Unhealthy(f"HTTP probe failed with statuscode: {answer.code}")
            if answer.code >= 300:
                return f"Probe terminated redirects, Response body: {answer.body}"
        elif probe.tcpSocket is not None:
            port = port_of(probe.tcpSocket.port, container)
            host = probe.tcpSocket.host or address
            await world.checks.tcp(host, port, timeout_seconds=seconds)
        elif probe.grpc is not None:
            name = probe.grpc.service or ""
            await world.checks.grpc(address, probe.grpc.port, name, timeout_seconds=seconds)
        return ""
