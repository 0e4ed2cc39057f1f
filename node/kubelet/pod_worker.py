"""One pod's worker: observe, plan, take a step, report, and wait for a reason to inspect again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from common.api import conditions
from common.api.codec import json as codec
from common.api.podreferences import all_containers
from common.api.podrequests import requests
from common.api.types.core_v1 import ConfigMap, Pod, PodStatus, Secret
from common.api.types.runtimeclass_v1 import RuntimeClass
from common.runtime.backoff import Backoff
from common.runtime.clock import sleep_or_event
from node.kubelet.effects.executor import Executor, Situation, Tools
from node.kubelet.effects.processes import Stop
from node.kubelet.pod import lifecycle, outcomes, planner, probing, steps
from node.kubelet.pod.fold import fold
from node.kubelet.pod.memory import UNKNOWN_VERSION, Moment, Observed, PodMemory
from node.kubelet.pod.outcomes import Outcome
from node.kubelet.pod.resources import resizing
from node.kubelet.pod.status import (
    ended_with_machine,
    is_overwritten,
    new_crash_loops,
    pod_status,
)
from node.kubelet.probes.prober import Prober
from node.kubelet.spec import containers, supported, sysctls
from node.kubelet.spec.env import Config, HostFacts
from node.kubelet.spec.supported import Findings
from node.kubelet.volumes import volumes
from node.runtime.base import ID_SCHEME, ContainerStatus, RuntimeFailure, SandboxStatus
from protos import node_v1_pb2

log = logging.getLogger(__name__)
RUNTIME_RETRY_SECONDS = 2.0
ERROR_RETRY = Backoff(initial_seconds=5.0, cap_seconds=300.0)
END_POLL_SECONDS = 0.02
END_POLLS = 50
Report = Callable[[Pod, bytes], None]
"""(pod, status in JSON): tells the master."""


class PodWorker:
    """Makes one pod as it is assigned. All its work happens in `run`, which other methods wake."""

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
        self._report_gone = gone
        self.assignment = assignment
        self.memory = PodMemory(
            started_at=self._now(),
            volumes_version=UNKNOWN_VERSION,
            ended_with_machine=ended_with_machine(self.pod.status),
        )
        self.observed = Observed()
        self._wake = asyncio.Event()
        self.halted = asyncio.Event()
        """Set when no container of the pod runs any more, after `halt`."""
        self._executor = Executor(tools, self._on_outcome)
        self._hold()
        self._prober = Prober(tools, self.memory, self._on_probe)
        self._watched: dict[str, Stop] = {}
        self._ended: set[str] = set()
        self._is_observed = False
        self._reported = b""
        self._status: PodStatus | None = None
        self.steps = 0
        self.busy = False
        self._unsupported_recorded = False
        self._retry_at = 0.0
        self._errors_in_a_row = 0

    def _hold(self) -> None:
        """Set aside on the machine what the pod has."""
        pod = resizing.allocated(self.pod, self.memory)
        self._tools.room.hold(pod.metadata.uid, requests(pod.spec))

    def check_invariants(self) -> None:
        """What is observed and remembered fits together; only processes that run are watched."""
        self.observed.check_invariants()
        self.memory.check_invariants(self.observed)
        assert not self._watched.keys() & self._ended

    @property
    def pod(self) -> Pod:
        """The pod as it was assigned last; a new Struct each time."""
        return codec.decode(self.assignment.pod, Pod)

    def assign(self, assignment: node_v1_pb2.PodAssignment) -> None:
        """The pod, or something that it references, has changed."""
        self.assignment = assignment
        self._retry_at = 0.0
        self._fold(outcomes.PodAssigned())
        if self._status is not None and is_overwritten(self.pod.status, self._status):
            self._reported = b""
        self._wake.set()

    def unassign(self) -> None:
        """The pod's object is gone: stop its containers and remove everything."""
        self._retry_at = 0.0
        self._on_outcome(outcomes.PodUnassigned())

    def halt(self, seconds: float) -> None:
        """The machine shuts down: stop all containers within so many seconds; start no other."""
        self._retry_at = 0.0
        self._on_outcome(outcomes.MachineHalting(seconds))

    def observe(self, statuses: Sequence[ContainerStatus], sandbox: SandboxStatus | None) -> None:
        """What a relist has found; ignored while a step is being taken, which would be newer.

        No step is taken before the first: the containers of the pod are not known until then.
        """
        if self.busy:
            return
        self._is_observed = True
        self._on_outcome(outcomes.Relisted(statuses, sandbox))

    def _fold(self, outcome: Outcome, pod: Pod | None = None) -> None:
        """Fold an outcome, and record the Events that follow."""
        pod = pod or self.pod
        for event in fold(outcome, pod, self.observed, self.memory, self._now()):
            self._tools.record(pod, event.container, event.type, event.reason, event.message)

    def _on_outcome(self, outcome: Outcome) -> None:
        self._fold(outcome)
        self._wake.set()

    def _on_probe(self, answer: outcomes.ProbeAnswered) -> None:
        """Wake the worker only when a probe's result has changed: most answers change nothing."""
        before = probing.result(self.memory, *answer.key)
        self._fold(answer)
        if probing.result(self.memory, *answer.key) != before:
            self._wake.set()

    def last_end(self, container: str) -> str:
        """The id of the attempt whose end is reported as the container's last; empty for none."""
        status = self._status or PodStatus()
        for one in (*status.initContainerStatuses, *status.containerStatuses):
            if one.name == container and one.lastState.terminated is not None:
                return one.lastState.terminated.containerID.removeprefix(ID_SCHEME)
        return ""

    def report_again(self) -> None:
        """Send the status once more, as the master may have lost it."""
        self._reported = b""
        self._wake.set()

    async def run(self) -> None:
        """Work until nothing is left of the pod."""
        try:
            while True:
                self._wake.clear()
                seconds = await self._round_or_retry()
                if self._finished:
                    return
                await self._wait(seconds)
        finally:
            self._tools.room.leave(self.pod.metadata.uid)
            self._prober.close()
            self._executor.cancel_hooks()
            self._executor.cancel_work()
            for stop in self._watched.values():
                stop()

    async def _round_or_retry(self) -> float | None:
        """A round; after an unexpected error, which is recorded as an Event, the next one waits.

        Only a change of the pod ends that wait.
        """
        left = self._retry_at - self._tools.clock.monotonic()
        if left > 0:
            return left
        try:
            seconds = await self._round()
        except Exception as error:  # a bug must not leave a pod without its worker
            log.exception("a pod's round failed", extra={"object": self.pod.metadata.name})
            text = f"error syncing pod: {type(error).__name__}: {error}"
            self._tools.record(self.pod, "", "Warning", "FailedSync", text)
            self._errors_in_a_row += 1
            return self._pause(ERROR_RETRY.delay_seconds(self._errors_in_a_row))
        self._errors_in_a_row = 0
        return seconds

    def _pause(self, seconds: float) -> float:
        """Begin no round for so long."""
        self._retry_at = self._tools.clock.monotonic() + seconds
        return seconds

    @property
    def _finished(self) -> bool:
        """Whether the pod's object and everything of it here is gone."""
        nothing = not self.observed.containers and self.observed.sandbox is None
        return self.memory.unassigned and nothing and self.memory.files_removed

    async def _round(self) -> float | None:
        """Plan and take steps until there is nothing to do now.

        Answers in how many seconds the next round is due, or None when only a change is a reason.
        """
        if not self._is_observed:
            return None
        if not await self._observe_ends():
            return RUNTIME_RETRY_SECONDS
        if not self.memory.resize.recalled:
            self._fold(await self._executor.recall(self.pod, self.observed))
            self._hold()
        while True:
            pod, config = self._current()
            held = resizing.allocated(pod, self.memory)
            version = volumes.version(held, config) + self._tools.tokens.version(pod)
            unsupported = supported.findings(pod, selinux=self._tools.host.selinux)
            self._fold(outcomes.RoundBegun(), pod)
            own = (*pod.spec.initContainers, *pod.spec.containers)
            blocked = any(unsupported.of(container.name) for container in own)
            for status in self.observed.all():
                if status.state == "exited":
                    await self._read_message(status, pod)
            self._follow(pod)
            now = self._now()
            # Plan for the phase as it is now: what was observed may have ended the pod.
            current = self._status_now(pod, now.wall, unsupported)
            pod.status.phase = current.phase
            plan = planner.plan(
                pod,
                self.observed,
                self.memory,
                now.monotonic,
                volumes_version=version,
                refusal=_refusal(pod, self._tools.host),
            )
            if blocked and not self.observed.containers and not planner.is_ending(pod, self.memory):
                plan = []
                self._record_unsupported(pod, unsupported)
            # A generation counts as observed once its resize is granted or refused.
            if not any(isinstance(step, steps.AllocateResources) for step in plan):
                self._send(pod, current)
            plan = [step for step in plan if not _asks_for(step, unsupported)]
            doable = [step for step in plan if not isinstance(step, steps.Wait)]
            if self.memory.halting and not plan:
                self.halted.set()
            if not doable:
                waits = [step.seconds for step in plan if isinstance(step, steps.Wait)]
                return min((*waits, *self._tools.tokens.waits(pod)), default=None)
            if isinstance(doable[0], steps.ReportGone):
                if not self.memory.unassigned:
                    self._report_gone(pod)
                return None
            memory, sandbox = self.memory, self.observed.sandbox
            wanted = isinstance(doable[0], steps.AllocateResources)
            at = Situation(pod if wanted else held, config, version, memory.address, sandbox)
            if seconds := await self._take(doable[0], at):
                return seconds

    def _follow(self, pod: Pod) -> None:
        """Cancel hooks, probes and pulls that are no longer wanted; begin probes."""
        running = {status.id for status in self.observed.all() if status.state == "running"}
        self._executor.cancel_hooks(but_of=running)
        ending = planner.is_ending(pod, self.memory) or self.memory.halting
        if ending:
            self._executor.cancel_work()
            self._fold(outcomes.WorkCancelled(), pod)
        self._prober.follow(pod, probing.targets(pod, self.observed, self.memory, ending=ending))

    async def _read_message(self, status: ContainerStatus, pod: Pod) -> None:
        """Read the termination message of a container that has ended, once."""
        if status.id not in self.memory.messages:
            or_log = containers.falls_back_to_log(pod, status)
            self._fold(await self._executor.read_message(status, or_log=or_log), pod)

    def _now(self) -> Moment:
        return Moment(self._tools.clock.now(), self._tools.clock.monotonic())

    def _record_unsupported(self, pod: Pod, found: Findings) -> None:
        """Record once as an Event which fields keep the pod from running."""
        if self._unsupported_recorded:
            return
        self._unsupported_recorded = True
        for container in all_containers(pod.spec):
            if text := found.of(container.name):
                self._tools.record(pod, container.name, "Warning", "Failed", f"Error: {text}")

    def _current(self) -> tuple[Pod, Config]:
        """The pod with its status as it was reported last, and what it references."""
        pod = self.pod
        pod.status.phase = lifecycle.known(pod.status.phase)
        if self._status is not None:
            reported = lifecycle.known(self._status.phase) or "Pending"
            pod.status.phase = lifecycle.advance(pod.status.phase, reported)
            pod.status.startTime = self._status.startTime
            pod.status.reason = self._status.reason or pod.status.reason
            pod.status.message = self._status.message or pod.status.message
            # Of a container that was removed nothing else is known.
            pod.status.containerStatuses = self._status.containerStatuses
            pod.status.initContainerStatuses = self._status.initContainerStatuses
            pod.status.ephemeralContainerStatuses = self._status.ephemeralContainerStatuses
            if self._status.podIP:
                pod.status.podIP, pod.status.podIPs = self._status.podIP, self._status.podIPs
            for condition in self._status.conditions:
                pod.status.conditions = conditions.put(pod.status.conditions, condition)
        return pod, _config_of(self.assignment)

    async def _take(self, step: steps.Step, at: Situation) -> float:
        """Take one step; answers 0, or in how many seconds to try again."""
        pod = at.pod
        extra = {"object": f"{pod.metadata.namespace}/{pod.metadata.name}", "cause": step.reason}
        log.debug("step %s", type(step).__name__, extra=extra)
        async with self._operations:
            self.busy = True
            try:
                self._fold(outcomes.Begun(step), pod)
                outcome = await self._executor.carry_out(step, at)
                if outcome is not None:
                    self._fold(outcome, pod)
                if isinstance(outcome, outcomes.CONTAINER_CHANGES):
                    self._fold(await self._executor.inspect(outcome.container_id), pod)
            except RuntimeFailure as error:
                log.warning("a step failed", extra={**extra, "error": str(error)})
                return RUNTIME_RETRY_SECONDS
            finally:
                self.busy = False
                self.steps += 1
        self._watch_processes()
        return 0.0

    def _status_now(self, pod: Pod, now: datetime, unsupported: Findings) -> PodStatus:
        return pod_status(
            pod,
            self.observed,
            self.memory,
            now,
            host_address=self._tools.host.address,
            findings=unsupported,
        )

    def _send(self, pod: Pod, status: PodStatus) -> None:
        """Report a status when it has changed."""
        data = codec.encode(status)
        if data == self._reported:
            return
        meta = pod.metadata
        for name in new_crash_loops(self._status, status):
            place = f"{name} in pod {meta.name}_{meta.namespace}({meta.uid})"
            text = f"Back-off restarting failed container {place}"
            self._tools.record(pod, name, "Warning", "BackOff", text)
        if status.phase in ("Succeeded", "Failed"):
            self._tools.room.leave(meta.uid)
        self._reported, self._status = data, status
        self._report(pod, data)

    async def _wait(self, seconds: float | None) -> None:
        """Wait to be woken, at most so many seconds."""
        if seconds is None:
            await self._wake.wait()
        else:
            await sleep_or_event(self._tools.clock, seconds, self._wake)

    def _watch_processes(self) -> None:
        """Be woken as soon as the process of a container ends."""
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

    async def _observe_ends(self) -> bool:
        """Observe containers whose process has ended; False when the runtime does not answer.

        The runtime notices an end a moment after the kernel. If it does not within a second, the
        container's monitor (conmon) is dead, too, and the exit code will never be known.
        """
        pod = self.pod
        try:
            for container_id in list(self._ended):
                for _ in range(END_POLLS):
                    if await self._observe_end(container_id, pod):
                        break
                    await self._tools.clock.sleep(END_POLL_SECONDS)
                else:
                    self._fold(outcomes.ContainerVanished(container_id), pod)
                self._ended.discard(container_id)
        except RuntimeFailure as error:
            log.info("the runtime does not answer", extra={"error": str(error)})
            return False
        self._watch_processes()
        return True

    async def _observe_end(self, container_id: str, pod: Pod) -> bool:
        """Observe a container whose process has ended; False if the runtime has not noticed yet."""
        self._fold(await self._executor.inspect(container_id), pod)
        status = self.observed.of(container_id)
        if status is not None and status.state == "running":
            return False
        if status is not None:
            await self._read_message(status, pod)
        return True


def _config_of(assignment: node_v1_pb2.PodAssignment) -> Config:
    """What was sent with a pod."""
    config_maps = [codec.decode(data, ConfigMap) for data in assignment.config_maps]
    secrets = [codec.decode(data, Secret) for data in assignment.secrets]
    chosen = assignment.runtime_class
    return Config(
        {config_map.metadata.name: config_map for config_map in config_maps},
        {secret.metadata.name: secret for secret in secrets},
        assignment.services,
        runtime_class=codec.decode(chosen, RuntimeClass) if chosen else None,
    )


def _refusal(pod: Pod, host: HostFacts) -> planner.Refusal | None:
    """Why this machine does not take a pod that it could carry out."""
    message = sysctls.refusal(pod, host.unsafe_sysctls)
    return planner.Refusal(sysctls.FORBIDDEN, message) if message else None


def _asks_for(step: steps.Step, unsupported: Findings) -> bool:
    """Whether a step is of a container that cannot be carried out: added to a pod that runs."""
    beginnings = (steps.InspectImage, steps.PullImage, steps.CreateContainer)
    return isinstance(step, beginnings) and unsupported.of(step.container.name) != ""
