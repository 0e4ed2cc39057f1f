"""Takes the steps of one pod: the only part of the kubelet that changes the machine.

It answers the outcome of each step, decides nothing, and remembers only the tasks that run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from common.api import podrequests
from common.api.types.core_v1 import Container, Pod
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.runtime.rng import Rng
from node.files.removal import remove_tree
from node.files.usage import used_bytes
from node.kubelet.effects import allocations, hook_runner, termination
from node.kubelet.effects.processes import Processes
from node.kubelet.pod import hooks, outcomes, steps
from node.kubelet.pod.memory import Observed
from node.kubelet.pod.outcomes import Outcome
from node.kubelet.pod.resources import eviction, resizing
from node.kubelet.pod.resources.room import Request, Room
from node.kubelet.pod.steps import Step
from node.kubelet.spec import pullsecrets
from node.kubelet.spec.containers import ContainerContext, container_spec, log_path, sub_paths
from node.kubelet.spec.env import Config, HostFacts
from node.kubelet.spec.pullsecrets import Login
from node.kubelet.spec.sandboxes import NodeFiles, sandbox_spec
from node.kubelet.spec.texts import ConfigError
from node.kubelet.volumes.tokens import Tokens
from node.kubelet.volumes.volumes import Volumes
from node.network.ipam import AddressPool, NoAddress
from node.probes.base import Checks
from node.runtime import base
from node.runtime.base import ContainerStatus, Runtime, Sandbox, SandboxFailed, SandboxStatus

log = logging.getLogger(__name__)
PULLS_AT_ONCE = 4
MEASUREMENTS_AT_ONCE = 2
Work = Callable[[], Awaitable[Outcome]]
Record = Callable[[Pod, str, str, str, str], None]
"""(pod, container or '', type, reason, message): records an Event."""


@dataclass(slots=True, kw_only=True)
class Tools:
    """What all workers of a kubelet share."""

    runtime: Runtime
    sandbox: Sandbox
    volumes: Volumes
    tokens: Tokens
    pool: AddressPool
    used_addresses: Callable[[], set[str]]
    last_address: str = ""
    """The last that a pod was given: the next one is taken behind it."""
    host: HostFacts
    node_files: Callable[[], NodeFiles]
    pods_dir: Path
    log_root: str
    record: Record
    processes: Processes
    offload: Offload
    clock: Clock
    checks: Checks
    rng: Rng
    pulls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PULLS_AT_ONCE))
    measurements: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MEASUREMENTS_AT_ONCE)
    )
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        """There is as much room as the machine has."""
        capacity = {
            podrequests.CPU: self.host.cpu_milli,
            podrequests.MEMORY: self.host.memory_bytes,
        }
        self.room = Room(capacity)


@dataclass(frozen=True, slots=True)
class Situation:
    """The pod as it is known now, and what it has, when a step is taken."""

    pod: Pod
    config: Config
    volumes_version: str
    address: str
    sandbox: SandboxStatus | None


class Executor:
    """Takes the steps of one pod.

    `report` takes the outcomes of what runs in the background: images, hooks, measuring.
    """

    def __init__(self, tools: Tools, report: Callable[[Outcome], None]) -> None:
        self._tools = tools
        self._report = report
        self._hooks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._measuring: asyncio.Task[None] | None = None

    async def carry_out(self, step: Step, at: Situation) -> Outcome | None:
        """Take one step; answers its outcome, or None when that is reported later.

        Raises RuntimeFailure when Podman does not answer.
        """
        match step:
            case steps.TakeAddress():
                return self._take_address()
            case steps.MakeVolumes():
                return await self._make_volumes(at)
            case steps.MakeSandbox():
                return await self._make_sandbox(at)
            case steps.InspectImage():
                self._begin_image(step.container, partial(self._inspect, step), at.pod)
            case steps.PullImage():
                self._begin_image(step.container, partial(self._pull, step, at), at.pod)
            case steps.CreateContainer():
                return await self._create(step, at)
            case steps.StartContainer():
                return await self._start(step.status)
            case steps.SignalContainer():
                await self._tools.runtime.signal_container(step.status.id, step.signal)
                return outcomes.ContainerSignalled(step.status.id, step.signal)
            case steps.RunHook():
                self._begin_hook(step, at)
            case steps.AllocateResources():
                return await self._allocate(step, at.pod)
            case steps.SetLimits():
                return await self._set_limits(step)
            case steps.RemoveContainer():
                return await self._remove_container(step.status, at.pod)
            case steps.RemoveSandbox():
                return await self._remove_sandbox(at.pod)
            case steps.RemoveFiles():
                return await self._remove_files(at.pod)
            case steps.MeasureVolumes():
                self._measuring = asyncio.create_task(self._measure(step, at.pod), name="sizes")
        return None

    async def inspect(self, container_id: str) -> outcomes.ContainerSeen:
        """Observe one container anew. Raises RuntimeFailure."""
        status = await self._tools.runtime.container_status(container_id)
        return outcomes.ContainerSeen(container_id, status)

    async def recall(self, pod: Pod, observed: Observed) -> outcomes.ResourcesRecalled:
        """What is set aside for a pod as this kubelet begins with it."""
        tools, uid = self._tools, pod.metadata.uid
        stored = await tools.offload(allocations.load, tools.pods_dir / uid)
        held = resizing.recalled(pod, stored, observed)
        return outcomes.ResourcesRecalled(held, resized=stored is not None)

    async def _allocate(self, step: steps.AllocateResources, pod: Pod) -> Outcome:
        """Set aside what a resized pod wants, and keep it on disk before it counts."""
        tools, uid = self._tools, pod.metadata.uid
        request = Request(
            podrequests.requests(pod.spec),
            pod.spec.priority or 0,
            pod.status.qosClass == "Guaranteed",
            partial(self._report, outcomes.RoomMade()),
        )
        if refusal := tools.room.ask(uid, request):
            return outcomes.ResizeRefused(resizing.refused(*refusal, pod))
        await tools.offload(allocations.save, tools.pods_dir / uid, step.resources)
        return outcomes.ResourcesAllocated(step.resources)

    async def _set_limits(self, step: steps.SetLimits) -> Outcome:
        status = step.status
        try:
            await self._tools.runtime.set_limits(status.id, step.limits)
        except base.BelowUsage as error:
            text = f'attempting to set container "{status.name}" {error}'
            return outcomes.LimitsNotSet(status.id, f"cannot decrease memory limits: {text}")
        except base.LimitsRefused as error:
            return outcomes.LimitsNotSet(status.id, str(error))
        return outcomes.LimitsSet(status.id, step.limits)

    async def read_message(self, status: ContainerStatus, *, or_log: bool) -> outcomes.MessageRead:
        """The termination message of a container that has ended, or the end of its log."""
        tools = self._tools
        path = termination.path(tools.pods_dir, status.pod_uid, status.name, status.attempt)
        text = await tools.offload(termination.read, path)
        if not text and or_log:
            text = await tools.offload(termination.log_tail, Path(status.log_path))
        return outcomes.MessageRead(status.id, text)

    def cancel_work(self) -> None:
        """Cancel pulls and the measuring of volumes."""
        for name in list(self._pulls):
            self._pulls.pop(name).cancel()
        if self._measuring is not None:
            self._measuring.cancel()

    def cancel_hooks(self, *, but_of: Collection[str] = ()) -> None:
        """Cancel all hooks but those of these containers."""
        for key in [key for key in self._hooks if key[0] not in but_of]:
            self._hooks.pop(key).cancel()

    async def _measure(self, step: steps.MeasureVolumes, pod: Pod) -> None:
        """Measure what has a limit of what it may take of the disk."""
        tools, volumes, containers = self._tools, dict[str, int](), dict[str, int]()
        async with tools.measurements:
            start = tools.clock.monotonic()
            try:
                for name in eviction.volumes(pod):
                    size = await tools.offload(tools.volumes.used_bytes, pod.metadata.uid, name)
                    _note(volumes, pod, name, size)
                for name, paths in _places(step.containers).items():
                    sizes = [await tools.offload(used_bytes, path) for path in paths]
                    known = [size for size in sizes if size is not None]
                    _note(containers, pod, name, sum(known) if len(known) == len(sizes) else None)
            finally:
                took_seconds = tools.clock.monotonic() - start
                self._report(outcomes.VolumesMeasured(volumes, took_seconds, containers))

    def _take_address(self) -> Outcome:
        """An address of this node's block that no other pod has."""
        tools = self._tools
        try:
            tools.last_address = tools.pool.take(tools.used_addresses(), tools.last_address)
        except NoAddress as error:
            return outcomes.SandboxFailed(str(error))
        return outcomes.AddressTaken(tools.last_address)

    async def _make_volumes(self, at: Situation) -> Outcome:
        tools, uid = self._tools, at.pod.metadata.uid

        async def published(place: str) -> str:
            return await tools.offload(tools.volumes.published, uid, place)

        try:
            at.config.tokens = await tools.tokens.of(at.pod, published)
            await tools.offload(tools.volumes.make, at.pod, at.config, tools.host, at.address)
        except ConfigError as error:
            return outcomes.VolumesFailed(str(error))
        return outcomes.VolumesMade(at.volumes_version)

    async def _make_sandbox(self, at: Situation) -> Outcome:
        of_node = await self._tools.offload(self._tools.node_files)
        try:
            spec = sandbox_spec(at.pod, at.address, of_node)
            return outcomes.SandboxMade(await self._tools.sandbox.create(spec))
        except (ConfigError, SandboxFailed) as error:
            return outcomes.SandboxFailed(str(error))

    def _begin_image(self, container: Container, work: Work, pod: Pod) -> None:
        """Begin to inspect or pull an image, and cancel what runs for another of the container."""
        name = container.name
        if name in self._pulls:
            self._pulls.pop(name).cancel()
        unknown = outcomes.ImageUnknown(container)

        async def checked() -> Outcome:
            try:
                return await work()
            except base.InvalidImageName as error:
                return outcomes.ImageNameInvalid(container, str(error))

        beside = self._in_background(checked, unknown, pod, "an image could not be had")
        self._pulls[name] = asyncio.create_task(beside, name=f"image of {name}")

    async def _in_background(self, work: Work, unknown: Outcome, pod: Pod, what: str) -> None:
        """Do some work and report its outcome; `unknown` when it must be tried again."""
        try:
            outcome = await work()
        except base.RuntimeFailure as error:  # Podman does not answer
            extra = {"object": _named(pod), "error": str(error)}
            log.warning("%s: it is tried again", what, extra=extra)
            outcome = unknown
        except Exception:  # a bug
            log.exception("%s: it is tried again", what, extra={"object": _named(pod)})
            outcome = unknown
        self._report(outcome)

    async def _inspect(self, step: steps.InspectImage) -> Outcome:
        image = await self._tools.runtime.image_status(step.container.image)
        return outcomes.ImageInspected(step.container, step.attempt, image)

    async def _pull(self, step: steps.PullImage, at: Situation) -> Outcome:
        """Pull with one login after the other until one works; without any when there is none."""
        tools, container = self._tools, step.container
        start = tools.clock.monotonic()
        logins: Sequence[Login | None] = pullsecrets.credentials(at.pod, container.image, at.config)
        errors: dict[str, None] = {}  # each text once, in order
        async with tools.pulls:
            for login in logins or (None,):
                try:
                    await tools.runtime.pull_image(container.image, credentials=login)
                    break
                except base.ImagePullFailed as error:
                    errors[str(error)] = None
            else:
                text = ", ".join(errors)
                text = f"[{text}]" if len(errors) > 1 else text
                return outcomes.ImagePullFailed(container, text)
        image = await tools.runtime.image_status(container.image)
        if image is None:
            text = f"{container.image} was pulled, and is not there"
            return outcomes.ImagePullFailed(container, text)
        took_seconds = tools.clock.monotonic() - start
        return outcomes.ImagePulled(container, step.attempt, image, took_seconds)

    async def _create(self, step: steps.CreateContainer, at: Situation) -> Outcome:
        container, tools, uid = step.container, self._tools, at.pod.metadata.uid
        assert at.sandbox is not None
        path = termination.path(tools.pods_dir, uid, container.name, step.attempt)
        around = ContainerContext(
            config=at.config,
            host=tools.host,
            sandbox=at.sandbox,
            volume_path=lambda volume: tools.volumes.path(uid, volume),
            log_root=tools.log_root,
            seccomp_root=str(tools.pods_dir.parent / "seccomp"),
            termination_path=str(path),
            image_user=step.image_user,
            joins_pid=step.joins_pid,
        )
        try:
            wanted = sub_paths(at.pod, container, around)
            made = await tools.offload(tools.volumes.make_sub_paths, at.pod, container, wanted)
            around = replace(around, sub_paths=made)
            spec = container_spec(at.pod, container, step.attempt, around)
            await tools.offload(_prepare_files, Path(spec.log_path), path)
            container_id = await tools.runtime.create_container(spec)
        except ConfigError as error:
            text = str(error)
            return outcomes.ContainerNotCreated(container, "CreateContainerConfigError", text)
        except base.ImageNotFound:
            return outcomes.ImageMissing(container)
        except (base.CreateFailed, OSError) as error:
            return outcomes.ContainerNotCreated(container, "CreateContainerError", str(error))
        return outcomes.ContainerCreated(container.name, container_id)

    async def _start(self, status: ContainerStatus) -> Outcome:
        try:
            await self._tools.runtime.start_container(status.id)
        except base.StartFailed as error:
            return outcomes.ContainerNotStarted(status.name, status.id, str(error))
        return outcomes.ContainerStarted(status.name, status.id)

    def _begin_hook(self, step: steps.RunHook, at: Situation) -> None:
        """Begin to run a hook."""
        container_id, name = step.status.id, step.container.name
        unknown = outcomes.HookEnded(container_id, name, step.kind, "unknown")
        work = partial(self._run_hook, step, at)
        beside = self._in_background(work, unknown, at.pod, "a hook could not be run")
        task = asyncio.create_task(beside, name=f"hook {step.kind}")
        self._hooks[(container_id, step.kind)] = task

    async def _run_hook(self, step: steps.RunHook, at: Situation) -> Outcome:
        tools, container_id, name = self._tools, step.status.id, step.container.name
        handler = hooks.hook_of(step.container, step.kind)
        assert handler is not None
        address = tools.host.address if at.pod.spec.hostNetwork else at.address
        try:
            await hook_runner.run(handler, step.container, container_id, address, tools)
        except hook_runner.HookFailed as error:
            # Its output may hold secrets of the pod: it is logged here, and not put into the Event.
            log.info("a hook failed", extra={"object": _named(at.pod), "error": str(error)})
            return outcomes.HookEnded(container_id, name, step.kind, "failed")
        return outcomes.HookEnded(container_id, name, step.kind, "done")

    async def _remove_container(self, status: ContainerStatus, pod: Pod) -> Outcome:
        """Remove a container with its log and its termination message, as Kubernetes does."""
        tools, attempt = self._tools, status.attempt
        await tools.runtime.remove_container(status.id)
        log_file = Path(log_path(tools.log_root, pod, status.name, attempt))
        message = termination.path(tools.pods_dir, pod.metadata.uid, status.name, attempt)
        await tools.offload(_remove_files_of, log_file, message)
        return outcomes.ContainerRemoved(status.id)

    async def _remove_sandbox(self, pod: Pod) -> Outcome:
        """Remove namespaces and volumes of the pod.

        Large volumes take several calls, so that other pods get their turn in between.
        """
        tools, uid = self._tools, pod.metadata.uid
        try:
            await tools.sandbox.remove(uid)
            gone = await tools.offload(tools.volumes.remove, uid)
        except (SandboxFailed, OSError) as error:
            return _removal_failed(pod, error)
        if gone:
            tools.tokens.forget(uid)
        return outcomes.SandboxRemoved(volumes_left=not gone)

    async def _remove_files(self, pod: Pod) -> Outcome:
        """Remove logs and termination messages of the pod."""
        tools = self._tools
        logs = Path(log_path(tools.log_root, pod, "x", 0)).parent.parent
        directories = (logs, tools.pods_dir / pod.metadata.uid)
        try:
            gone = [await tools.offload(remove_tree, directory) for directory in directories]
        except OSError as error:
            return _removal_failed(pod, error)
        return outcomes.FilesRemoved(files_left=not all(gone))


def _note(sizes: dict[str, int], pod: Pod, name: str, size: int | None) -> None:
    """Take in a size; one that is not known leaves what was known before."""
    if size is None:
        log.warning("a size is not known", extra={"object": _named(pod), "part": name})
    else:
        sizes[name] = size


def _places(containers: Sequence[ContainerStatus]) -> dict[str, list[Path]]:
    """Where the logs of each container are, and what it has written of its own."""
    return {
        status.name: [
            Path(status.log_path).parent,
            *([Path(status.layer_path)] if status.layer_path else []),
        ]
        for status in containers
    }


def _removal_failed(pod: Pod, error: Exception) -> outcomes.RemovalFailed:
    log.warning("a removal failed", extra={"object": _named(pod), "error": str(error)})
    return outcomes.RemovalFailed(str(error))


def _named(pod: Pod) -> str:
    """A pod's name for the log."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _remove_files_of(log_file: Path, termination_file: Path) -> None:
    """Remove the files of one attempt, if they exist."""
    for file in (*log_file.parent.glob(f"{log_file.name}*"), termination_file):
        file.unlink(missing_ok=True)


def _prepare_files(log_file: Path, termination_file: Path) -> None:
    """The directory of the log, and an empty termination message that the container may write."""
    log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    termination_file.parent.mkdir(parents=True, exist_ok=True)
    termination_file.touch()
    termination_file.chmod(0o666)
