"""One pod's worker: observe, plan, take a step, report, and wait for a reason to look again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from common.api import conditions
from common.api.codec import json as codec
from common.api.types.core_v1 import ConfigMap, Pod, PodStatus, Secret
from common.runtime.backoff import Backoff
from common.runtime.clock import sleep_or_event
from node.kubelet.effects.executor import Executor, Tools
from node.kubelet.effects.processes import Stop
from node.kubelet.pod import hooks, lifecycle, planner, probing, supported
from node.kubelet.pod.env import Config
from node.kubelet.pod.memory import Moment, Observed, PodMemory
from node.kubelet.pod.status import (
    Findings,
    back_offs,
    is_overwritten,
    pod_status,
    reported_lost,
)
from node.kubelet.probes.prober import Prober
from node.kubelet.volumes import volumes
from node.runtime.base import ID_SCHEME, ContainerStatus, RuntimeFailure, SandboxFailed
from protos import node_v1_pb2

log = logging.getLogger(__name__)
RUNTIME_RETRY_SECONDS = 2.0
MISTAKE_RETRY = Backoff(initial_seconds=5.0, cap_seconds=300.0)
REFUSED_RETRY = Backoff(initial_seconds=2.0, cap_seconds=300.0)
"""What the machine refuses, it will mostly refuse again."""
END_POLL_SECONDS = 0.02
END_POLLS = 50
Report = Callable[[Pod, bytes], None]
"""(pod, status in JSON): tells the master."""


class PodWorker:
    """Makes one pod so. All its work happens in `run`; the other methods only wake it."""

    def __init__(
        self,
        assignment: node_v1_pb2.PodAssignment,
        tools: Tools,
        operations: asyncio.Semaphore,
        *,
        report: Report,
        gone: Callable[[Pod], None],
    ) -> None:
        self._tools = tools
        self._operations = operations
        self._report = report
        self._gone = gone
        self.assignment = assignment
        self.memory = PodMemory(started_at=tools.clock.now())
        self.memory.found_at.update(reported_lost(self.pod.status))
        self.observed = Observed()
        self._wake = asyncio.Event()
        self.halted = asyncio.Event()
        """Set when nothing of the pod runs any more, after `halt`."""
        self._executor = Executor(tools, self.observed, self.memory, self._wake.set)
        self._prober = Prober(tools, self.memory, self._wake.set)
        self._watched: dict[str, Stop] = {}
        self._ended: set[str] = set()
        self._seen = False
        self._reported = b""
        self._status: PodStatus | None = None
        self.steps = 0
        self.busy = False
        self._told = False
        self._retry_at = 0.0
        self._mistakes = 0
        self._refused = 0
        """How often in a row the machine has refused a step."""

    @property
    def pod(self) -> Pod:
        """The pod as it was assigned last; a new Struct each time."""
        return codec.decode(self.assignment.pod, Pod)

    def assign(self, assignment: node_v1_pb2.PodAssignment) -> None:
        """The pod, or something that it references, has changed."""
        self.assignment = assignment
        self._retry_at = 0.0
        waiting = ("FailedMount", "CreateContainerConfigError")
        for name, failure in list(self.memory.failures.items()):
            if failure.reason in waiting:
                del self.memory.failures[name]
        if self._status is not None and is_overwritten(self.pod.status, self._status):
            self._reported = b""
        self._wake.set()

    def unassign(self) -> None:
        """The pod's object is gone: stop what runs and remove everything."""
        self.memory.removed = True
        self._retry_at = 0.0
        self._wake.set()

    def halt(self, seconds: float) -> None:
        """The machine goes down: stop what runs within so many seconds, and start nothing more."""
        memory, now = self.memory, self._tools.clock.monotonic()
        memory.halting = True
        memory.kill_at = min(planner.kill_at(self.pod, memory, now), now + seconds)
        self._retry_at = 0.0
        self._wake.set()

    def observe(self, containers: list[ContainerStatus], observed: Observed) -> None:
        """What a relist has found; ignored while a step is being taken.

        Nothing is done for a pod before: what runs of it is not known.
        """
        if self.busy:
            return
        self._seen = True
        self.observed.sandbox = observed.sandbox
        self.observed.containers.clear()
        for status in containers:
            self._executor.take_in(status)
        if observed.sandbox is not None and observed.sandbox.address:
            self.memory.address = observed.sandbox.address
        self._wake.set()

    def last_end(self, container: str) -> str:
        """The id of the attempt whose end is reported as the container's last; empty for none."""
        status = self._status or PodStatus()
        for one in (*status.initContainerStatuses, *status.containerStatuses):
            if one.name == container and one.lastState.terminated is not None:
                return one.lastState.terminated.containerID.removeprefix(ID_SCHEME)
        return ""

    def report_again(self) -> None:
        """The master has forgotten: send the status once more."""
        self._reported = b""
        self._wake.set()

    async def run(self) -> None:
        """Work until nothing is left of the pod."""
        try:
            while True:
                self._wake.clear()
                seconds = await self._guarded_round()
                if self._finished:
                    return
                await self._wait(seconds)
        finally:
            self._prober.close()
            self._executor.end_hooks(all_=True)
            self._executor.end_pulls()
            self._executor.end_measuring()
            for stop in self._watched.values():
                stop()

    async def _guarded_round(self) -> float | None:
        """A round; a mistake of ours in it is told, and tried again ever more rarely.

        What wakes the worker meanwhile is no reason to try sooner, unless the pod has changed.
        """
        left = self._retry_at - self._tools.clock.monotonic()
        if left > 0:
            return left
        try:
            seconds = await self._round()
        except Exception as error:  # a pod must never be left without its worker
            log.exception("a pod's round failed", extra={"object": self.pod.metadata.name})
            text = f"error syncing pod: {type(error).__name__}: {error}"
            self._tools.record(self.pod, "", "Warning", "FailedSync", text)
            self._mistakes += 1
            return self._rest(MISTAKE_RETRY.delay_seconds(self._mistakes))
        self._mistakes = 0
        return seconds

    def _rest(self, seconds: float) -> float:
        """Try nothing for so long."""
        self._retry_at = self._tools.clock.monotonic() + seconds
        return seconds

    @property
    def _finished(self) -> bool:
        """Whether the pod's object and everything of it here is gone."""
        nothing = not self.observed.containers and self.observed.sandbox is None
        return self.memory.removed and nothing and self.memory.files_removed

    async def _round(self) -> float | None:
        """Plan and take steps until there is nothing to do now.

        Answers in how many seconds to look again, or None when only a change is a reason to.
        """
        if not self._seen:
            return None
        if not await self._note_ends():
            return RUNTIME_RETRY_SECONDS
        while True:
            pod, config = self._current()
            version = volumes.version(pod, config) + self._tools.tokens.version(pod)
            unsupported = supported.findings(pod, selinux=self._tools.host.selinux)
            now = self._now()
            if planner.is_ending(pod, self.memory):
                self.memory.kill_at = planner.kill_at(pod, self.memory, now.monotonic)
            blocked = bool(unsupported.pod or any(text for _, text in unsupported.containers))
            for status in self.observed.all():
                if status.state == "exited":
                    await self._executor.read_message(status, pod)
            self._follow(pod)
            # What has been observed may end the pod: nothing is planned for the phase before.
            pod.status.phase = self._send_status(pod, now.wall, unsupported).phase
            steps = planner.plan(pod, self.observed, self.memory, now, volumes_version=version)
            if blocked and not self.observed.containers and not planner.is_ending(pod, self.memory):
                steps = []
                self._tell_unsupported(pod, unsupported)
            doable = [step for step in steps if not isinstance(step, planner.Wait)]
            if self.memory.halting and not steps:
                self.halted.set()
            if not doable:
                waits = [step.seconds for step in steps if isinstance(step, planner.Wait)]
                return min((*waits, *self._tools.tokens.waits(pod)), default=None)
            if isinstance(doable[0], planner.ReportGone):
                if not self.memory.removed:
                    self._gone(pod)
                return None
            if seconds := await self._take(doable[0], pod, config, version):
                return seconds

    def _follow(self, pod: Pod) -> None:
        """Bring hooks, probes and pulls in step with the containers that run now."""
        hooks.adopt(pod, self.observed, self.memory)
        probing.adopt(pod, self.observed, self.memory)
        self._executor.end_hooks()
        ending = planner.is_ending(pod, self.memory) or self.memory.halting
        if ending:
            self._executor.end_pulls()
            self._executor.end_measuring()
        self._prober.follow(pod, probing.targets(pod, self.observed, self.memory, ending=ending))

    def _now(self) -> Moment:
        return Moment(self._tools.clock.now(), self._tools.clock.monotonic())

    def _tell_unsupported(self, pod: Pod, found: Findings) -> None:
        """Record once, for people, which fields keep the pod from running."""
        if self._told:
            return
        self._told = True
        for container in (*pod.spec.initContainers, *pod.spec.containers):
            if text := found.of(container.name):
                self._tools.record(pod, container.name, "Warning", "Failed", f"Error: {text}")

    def _current(self) -> tuple[Pod, Config]:
        """The pod with what was reported of it since, and what it references."""
        pod = self.pod
        pod.status.phase = lifecycle.known(pod.status.phase)
        if self._status is not None:
            reported = lifecycle.known(self._status.phase) or "Pending"
            pod.status.phase = lifecycle.advance(pod.status.phase, reported)
            pod.status.startTime = self._status.startTime
            pod.status.reason = self._status.reason or pod.status.reason
            pod.status.message = self._status.message or pod.status.message
            # Of a container that has gone this is all that is known.
            pod.status.containerStatuses = self._status.containerStatuses
            pod.status.initContainerStatuses = self._status.initContainerStatuses
            if self._status.podIP:
                pod.status.podIP, pod.status.podIPs = self._status.podIP, self._status.podIPs
            for condition in self._status.conditions:
                pod.status.conditions = conditions.put(pod.status.conditions, condition)
        config = volumes.config_of(
            [codec.decode(data, ConfigMap) for data in self.assignment.config_maps],
            [codec.decode(data, Secret) for data in self.assignment.secrets],
            self.assignment.services,
        )
        return pod, config

    async def _take(self, step: planner.Step, pod: Pod, config: Config, version: str) -> float:
        """Take one step; answers 0, or in how many seconds it is to be tried again."""
        extra = {"object": f"{pod.metadata.namespace}/{pod.metadata.name}", "cause": step.reason}
        log.debug("step %s", type(step).__name__, extra=extra)
        async with self._operations:
            self.busy = True
            try:
                await self._executor.carry_out(step, pod, config, version)
                self._refused = 0
            except RuntimeFailure as error:
                log.warning("a step failed", extra={**extra, "error": str(error)})
                return RUNTIME_RETRY_SECONDS
            except SandboxFailed as error:
                log.warning("a step failed", extra={**extra, "error": str(error)})
                self._refused += 1
                return self._rest(REFUSED_RETRY.delay_seconds(self._refused))
            finally:
                self.busy = False
                self.steps += 1
        self._watch_processes()
        return 0.0

    def _send_status(self, pod: Pod, now: datetime, unsupported: Findings) -> PodStatus:
        """The status, which is reported when it has changed."""
        status = pod_status(
            pod,
            self.observed,
            self.memory,
            now,
            host_address=self._tools.host.address,
            findings=unsupported,
        )
        data = codec.encode(status)
        if data == self._reported:
            return status
        meta = pod.metadata
        for name in back_offs(self._status, status):
            place = f"{name} in pod {meta.name}_{meta.namespace}({meta.uid})"
            text = f"Back-off restarting failed container {place}"
            self._tools.record(pod, name, "Warning", "BackOff", text)
        self._reported, self._status = data, status
        self._report(pod, data)
        return status

    async def _wait(self, seconds: float | None) -> None:
        """Wait for a reason to look again, at the longest so many seconds."""
        if seconds is None:
            await self._wake.wait()
        else:
            await sleep_or_event(self._tools.clock, seconds, self._wake)

    def _watch_processes(self) -> None:
        """Be woken the moment that a container's process ends."""
        running = {s.id: s for s in self.observed.all() if s.state == "running" and s.pid}
        for container_id in set(self._watched) - set(running):
            self._watched.pop(container_id)()
        for container_id, status in running.items():
            if container_id in self._watched or container_id in self._ended:
                continue
            stop = self._tools.processes.watch(status, partial(self._on_end, container_id))
            if stop is None:
                self._ended.add(container_id)
                self._wake.set()
            else:
                self._watched[container_id] = stop

    def _on_end(self, container_id: str) -> None:
        self._watched.pop(container_id, None)
        self._ended.add(container_id)
        self._wake.set()

    async def _note_ends(self) -> bool:
        """Observe containers whose process has ended; False when the runtime does not answer.

        The runtime notices an end a moment later. Where it does not, nobody will ever know the
        exit code: the container's monitor is dead, too.
        """
        pod = self.pod
        try:
            for container_id in list(self._ended):
                for _ in range(END_POLLS):
                    if await self._executor.note_end(container_id, pod):
                        break
                    await self._tools.clock.sleep(END_POLL_SECONDS)
                else:
                    self._executor.lose(container_id)
                self._ended.discard(container_id)
        except RuntimeFailure as error:
            log.info("the runtime does not answer", extra={"error": str(error)})
            return False
        self._watch_processes()
        return True
