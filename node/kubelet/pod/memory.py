"""What the kubelet remembers of a pod beside what can be observed: failures and deadlines.

Written by `fold` alone, from the outcomes of steps; read by the planner and the status. What is
waited for is in seconds of the monotonic clock, which nobody sets; stamps that people read are
aware datetimes. Losing it (a restart of the kubelet) costs a retry at most, never a container.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from common.api.types.core_v1 import Container, ResourceRequirements
from common.runtime.backoff import Backoff
from node.runtime.base import ContainerStatus, Limits, SandboxStatus

BACKOFF = Backoff(initial_seconds=10, cap_seconds=300)
"""Between attempts of a container, and of what is needed for one."""
REMOVAL_BACKOFF = Backoff(initial_seconds=2.0, cap_seconds=300.0)
"""Between attempts of a removal: what the machine refuses, it will mostly refuse again."""
STABLE_SECONDS = 600
"""A run of so long resets the back-off."""
CONFIG_RETRY_SECONDS = 10
RUNTIME_RETRY_SECONDS = 2.0
"""Until a runtime that did not answer is asked for an image or a hook again."""
UNKNOWN_VERSION = "unknown"
"""The version of volumes that may be there, of an earlier kubelet's: they are made anew."""
MESSAGE_MAX = 4096
"""Longer messages are cut: they may quote a text of the pod, which may be a megabyte."""


class Moment(NamedTuple):
    """One moment on both clocks: the wall's, and the monotonic one in seconds."""

    wall: datetime
    monotonic: float


@dataclass(slots=True)
class Failure:
    """A step that failed: reason and message as in the status, how often, when to try again."""

    reason: str
    message: str
    count: int
    retry_at: float
    image: str = ""
    """The container's image at that time: the back-off does not hold for another one."""


class CheckedImage(NamedTuple):
    """What is known of the image for one attempt of a container."""

    attempt: int
    image: str
    ready: bool
    """Whether the container may be made from it; if not, it must be pulled."""
    user: str = ""
    """The user that a ready image names."""


class Pull(NamedTuple):
    """An image that is being inspected or pulled beside everything else."""

    image: str
    retry_at: float | None = None
    """When to ask again, where the runtime did not answer; None while the work goes on."""


class StartFailure(NamedTuple):
    """Why and when a container's process could not be started: the end of that attempt."""

    message: str
    at: datetime


@dataclass(slots=True)
class Stop:
    """A container that is being stopped: since when, and when it was sent its stop signal."""

    since: float
    term_at: float | None = None
    restart: bool = False
    """Stopped for a failed probe or hook: it counts as failed, whatever its exit code."""


@dataclass(frozen=True, slots=True)
class PendingResize:
    """A resize that the machine has no room for: reason and message as in the status."""

    reason: Literal["Deferred", "Infeasible"]
    message: str
    wanted: Mapping[str, ResourceRequirements]


@dataclass(slots=True)
class ResizeMemory:
    """What is remembered of a pod's resizes."""

    recalled: bool = False
    """Whether it is known what an earlier kubelet has set aside for the pod."""
    begun: bool = False
    """Whether the pod was ever resized: only then the limits of its containers are looked at."""
    generation: int | None = None
    """The pod's generation at its last resize; None once containers have what it asked for."""
    pending: PendingResize | None = None
    failure: Failure | None = None
    """Of the last attempt to set the limits of a container."""
    limits: dict[str, Limits] = field(default_factory=dict)
    """Container id -> those that were set last: the kernel may have rounded them."""


HookState = Literal["running", "done", "failed"]
ProbeKind = Literal["startup", "liveness", "readiness"]
ProbeResult = Literal["unknown", "success", "failure"]


class ProbeKey(NamedTuple):
    """A probe of one container: its id, and the kind."""

    container_id: str
    kind: ProbeKind


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The result of a probe, and the run of equal answers that counts towards its thresholds."""

    result: ProbeResult
    last: ProbeResult = "unknown"
    run: int = 0


@dataclass(slots=True)
class Observed:
    """What exists of a pod on this machine; containers of one name by attempt, oldest first."""

    sandbox: SandboxStatus | None = None
    containers: dict[str, list[ContainerStatus]] = field(default_factory=dict)

    def latest(self, name: str) -> ContainerStatus | None:
        """The last attempt of a container, or None."""
        attempts = self.containers.get(name)
        return attempts[-1] if attempts else None

    def of(self, container_id: str) -> ContainerStatus | None:
        """The container of that id, or None."""
        return next((status for status in self.all() if status.id == container_id), None)

    def all(self) -> list[ContainerStatus]:
        """Every container of the pod."""
        return [status for attempts in self.containers.values() for status in attempts]

    def put(self, status: ContainerStatus) -> None:
        """Take in a newer state of one container."""
        attempts = self.containers.setdefault(status.name, [])
        attempts[:] = sorted(
            [*(a for a in attempts if a.id != status.id), status], key=lambda s: s.attempt
        )

    def drop(self, container_id: str) -> None:
        """A container is gone."""
        for name, attempts in list(self.containers.items()):
            attempts[:] = [a for a in attempts if a.id != container_id]
            if not attempts:
                del self.containers[name]

    def check_invariants(self) -> None:
        """Attempts are in order under their own name, and each container is there once."""
        for name, attempts in self.containers.items():
            assert attempts, f"{name}: no attempt"
            assert {status.name for status in attempts} == {name}
            numbers = [status.attempt for status in attempts]
            assert numbers == sorted(numbers), f"{name}: {numbers}"
        ids = [status.id for status in self.all()]
        assert len(ids) == len(set(ids)), ids


@dataclass(slots=True)
class PodMemory:
    """What the kubelet remembers of one pod."""

    started_at: Moment
    """When this kubelet first heard of the pod."""
    address: str = ""
    volumes_version: str = ""
    volumes_made: bool = False
    """Whether every volume has been made, of whatever version."""
    volume_bytes: dict[str, int] = field(default_factory=dict)
    """What was counted last of each volume that has a limit."""
    container_bytes: dict[str, int] = field(default_factory=dict)
    """The same of each container, by its name."""
    measuring: bool = False
    measure_at: float = 0.0
    """When volumes are measured next."""
    images: dict[str, CheckedImage] = field(default_factory=dict)
    """By container name."""
    pulls: dict[str, Pull] = field(default_factory=dict)
    """By container name."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """By container name; `` for the sandbox and the volumes."""
    removal_failure: Failure | None = None
    """Of the last removal of the sandbox, the volumes or the files."""
    start_failures: dict[str, StartFailure] = field(default_factory=dict)
    """By container id."""
    began: dict[str, float] = field(default_factory=dict)
    """Container id -> when its process was started, on the monotonic clock."""
    ended: dict[str, float] = field(default_factory=dict)
    """Container id -> when it ended, or failed to start, on the monotonic clock."""
    of_former_sandbox: set[str] = field(default_factory=set)
    """Ids of containers that are older than the sandbox: init containers among them run again."""
    vanished: dict[str, str] = field(default_factory=dict)
    """Container id -> when its process turned out to be gone, which the runtime does not notice."""
    ended_with_machine: dict[str, str] = field(default_factory=dict)
    """Container id -> the finishedAt of one that a reboot has ended: when this was first seen."""
    messages: dict[str, str] = field(default_factory=dict)
    """Container id -> its termination message."""
    stable_from: dict[str, int] = field(default_factory=dict)
    """Container -> the last attempt that ran for STABLE_SECONDS: the back-off counts from it."""
    signalled: dict[str, str] = field(default_factory=dict)
    """Container id -> the last signal that it was sent."""
    stops: dict[str, Stop] = field(default_factory=dict)
    """By container id."""
    hooks: dict[tuple[str, str], HookState] = field(default_factory=dict)
    """(container id, postStart or preStop) -> where it stands."""
    hook_retries: dict[tuple[str, str], float] = field(default_factory=dict)
    """When a hook is called again for which the runtime did not answer."""
    probes: dict[ProbeKey, ProbeState] = field(default_factory=dict)
    """What each probe of a running container has come to."""
    allocated: dict[str, ResourceRequirements] = field(default_factory=dict)
    """Container -> the CPU and memory that are set aside for it; the spec's until that is known."""
    resize: ResizeMemory = field(default_factory=ResizeMemory)
    files_removed: bool = False
    """Whether logs and termination messages are removed: the last that is removed of a pod."""
    unassigned: bool = False
    """The pod is no longer assigned to this node: its object is gone."""
    halting: bool = False
    """The machine shuts down: containers are stopped, and none is started until it has booted."""
    kill_at: float | None = None
    """When what still runs of a pod that is ending is killed; None before its end begins."""
    failed: tuple[str, str] | None = None
    """(reason, message) of a pod that the kubelet has failed: DeadlineExceeded, Evicted."""
    refused: bool = False
    """This machine does not take the pod."""

    def forget(self, container_id: str) -> None:
        """A container is gone: drop what is known by its id."""
        known: tuple[dict[str, Any], ...] = (
            self.start_failures,
            self.began,
            self.ended,
            self.vanished,
            self.ended_with_machine,
            self.messages,
            self.signalled,
            self.stops,
            self.resize.limits,
        )
        for by_id in known:
            by_id.pop(container_id, None)
        by_pair: tuple[dict[Any, Any], ...] = (self.hooks, self.hook_retries, self.probes)
        for pairs in by_pair:
            for key in [key for key in pairs if key[0] == container_id]:
                del pairs[key]
        self.of_former_sandbox.discard(container_id)

    def check_invariants(self, observed: Observed) -> None:
        """What is known by a container's id is of one that is there, and fits its state."""
        present = {status.id for status in observed.all()}
        known = {
            *(*self.start_failures, *self.began, *self.ended, *self.vanished, *self.messages),
            *(*self.signalled, *self.stops, *self.of_former_sandbox, *self.resize.limits),
            *(key[0] for key in (*self.hooks, *self.hook_retries, *self.probes)),
        }
        assert known <= present, f"gone and not forgotten: {known - present}"
        for status in observed.all():
            running, over = status.state == "running", status.state in ("exited", "unknown")
            assert not running or status.id in self.began, f"{status.id}: it runs since when?"
            assert not over or status.id in self.ended, f"{status.id}: when has it ended?"
            assert not (running and status.id in self.vanished), (
                f"{status.id} has vanished and runs"
            )
            assert self.run_seconds(status.id) >= 0, f"{status.id} ended before it began"
        assert not self.hooks.keys() & self.hook_retries.keys()
        assert all(
            stop.term_at is None or stop.term_at >= stop.since for stop in self.stops.values()
        )
        assert all(failure.count >= 1 for failure in self.failures.values())
        assert self.volumes_version or not self.volumes_made

    def run_seconds(self, container_id: str) -> float:
        """How long an attempt ran that has ended; 0 for one that was never started."""
        if container_id not in self.began or container_id not in self.ended:
            return 0.0
        return self.ended[container_id] - self.began[container_id]

    def failure_of(self, container: Container) -> Failure | None:
        """The last failure of a container with its present image, or None."""
        failure = self.failures.get(container.name)
        return failure if failure is not None and failure.image == container.image else None

    def fail(
        self, name: str, reason: str, message: str, monotonic: float, *, image: str = ""
    ) -> Failure:
        """Remember a failure. The back-off doubles with each, and begins anew for another image."""
        former = self.failures.get(name)
        count = former.count + 1 if former and former.image == image else 1
        wait = BACKOFF.delay_seconds(count)
        if reason.startswith("CreateContainerConfig"):
            wait = CONFIG_RETRY_SECONDS
        failure = Failure(reason, message[:MESSAGE_MAX], count, monotonic + wait, image)
        self.failures[name] = failure
        return failure


def restart_delay_seconds(attempt: int, stable_from: int) -> int:
    """How long a container waits after the end of `attempt`: 0 s, 10 s, 20 s, ... 300 s."""
    return int(BACKOFF.delay_seconds(attempt - stable_from))
