"""Carries out the steps of one pod: the only part of the kubelet that changes the machine.

What a step leads to is written into the pod's observation and memory; nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from common.api import times
from common.api.types.core_v1 import Container, Pod
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.runtime.rng import Rng
from node.files.removal import remove_tree
from node.kubelet.effects import hook_runner, termination
from node.kubelet.effects.processes import Processes
from node.kubelet.pod import eviction, hooks, planner, pullsecrets
from node.kubelet.pod.containers import Surroundings, container_spec, log_path
from node.kubelet.pod.env import Config, HostFacts
from node.kubelet.pod.memory import STABLE_SECONDS, Ensured, Observed, PodMemory, StartFailure, Stop
from node.kubelet.pod.planner import Step
from node.kubelet.pod.pullsecrets import Login
from node.kubelet.pod.sandboxes import NodeFiles, sandbox_spec
from node.kubelet.pod.texts import ConfigError
from node.kubelet.volumes.tokens import Tokens
from node.kubelet.volumes.volumes import Volumes
from node.network.ipam import AddressPool, NoAddress
from node.probes.base import Checks
from node.runtime import base
from node.runtime.base import (
    ContainerStatus,
    ImageStatus,
    Runtime,
    Sandbox,
    SandboxFailed,
)

log = logging.getLogger(__name__)
PULLS_AT_ONCE = 4
MEASUREMENTS_AT_ONCE = 2
RETRY_SECONDS = 2.0
LOST_EXIT_CODE = 137
LOST_MESSAGE = "The container's process has gone, and its exit code with its monitor"
T = TypeVar("T")
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


class Executor:
    """Carries out steps for one pod."""

    def __init__(
        self, tools: Tools, observed: Observed, memory: PodMemory, wake: Callable[[], None]
    ) -> None:
        self._tools = tools
        self._wake = wake
        self._hooks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._measuring: asyncio.Task[None] | None = None
        self.observed = observed
        self.memory = memory

    async def carry_out(self, step: Step, pod: Pod, config: Config, version: str) -> None:
        """Take one step. Raises RuntimeUnavailable when Podman is away."""
        match step:
            case planner.MakeVolumes():
                await self._make_volumes(pod, config, version)
            case planner.MakeSandbox():
                await self._make_sandbox(pod)
            case planner.EnsureImage():
                self._begin_pull(step, pod, config)
            case planner.CreateContainer():
                await self._create(step, pod, config)
            case planner.StartContainer():
                await self._start(step, pod)
            case planner.SignalContainer():
                await self._signal(step, pod)
            case planner.RunHook():
                self._begin_hook(step, pod)
            case planner.RemoveContainer():
                await self._remove_container(step.status, pod)
            case planner.RemoveSandbox():
                await self._remove_sandbox(pod)
            case planner.RemoveFiles():
                await self._remove_files(pod)
            case planner.FailPod():
                self._fail(step, pod)
            case planner.MeasureVolumes():
                self._begin_measuring(pod)

    def _fail(self, step: planner.FailPod, pod: Pod) -> None:
        self.memory.failed = (step.failure, step.message)
        if step.grace_seconds is not None:
            self.memory.kill_at = self._tools.clock.monotonic() + step.grace_seconds
        self._tools.record(pod, "", step.event, step.failure, step.message)

    def _begin_measuring(self, pod: Pod) -> None:
        """Count what volumes take beside everything else."""
        self.memory.measuring = True
        self._measuring = asyncio.create_task(self._measure(pod), name="volumes' sizes")

    async def _measure(self, pod: Pod) -> None:
        """Count what volumes with limits take; the end wakes the pod's worker."""
        tools, memory = self._tools, self.memory
        async with tools.measurements:
            start = tools.clock.monotonic()
            try:
                for name in eviction.limits(pod):
                    found = await tools.offload(tools.volumes.used_bytes, pod.metadata.uid, name)
                    if found is None:
                        extra = {"object": _named(pod), "volume": name}
                        log.warning("a volume was not measured", extra=extra)
                    else:
                        memory.volume_bytes[name] = found
            finally:
                end = tools.clock.monotonic()
                memory.measuring = False
                memory.measure_at = end + eviction.rest_seconds(end - start)
        self._wake()

    def end_measuring(self) -> None:
        """Leave volumes alone that are about to go."""
        if self._measuring is not None:
            self._measuring.cancel()

    async def _make_volumes(self, pod: Pod, config: Config, version: str) -> None:
        tools = self._tools
        if not self._choose_address(pod):
            return

        async def published(place: str) -> str:
            return await tools.offload(tools.volumes.published, pod.metadata.uid, place)

        try:
            config.tokens = await tools.tokens.of(pod, published)
            await tools.offload(tools.volumes.make, pod, config, tools.host, self.memory.address)
        except ConfigError as error:
            text = str(error)
            self.memory.fail("", "FailedMount", text, tools.clock.monotonic())
            tools.record(pod, "", "Warning", "FailedMount", text)
            return
        self.memory.failures.pop("", None)
        self.memory.volumes_version, self.memory.volumes_made = version, True

    def _choose_address(self, pod: Pod) -> bool:
        """An address of this node's CIDR, kept for the life of the pod; False when none is free."""
        if pod.spec.hostNetwork or self.memory.address:
            return True
        try:
            self.memory.address = self._tools.pool.take(self._tools.used_addresses())
        except NoAddress as error:
            self._sandbox_failed(pod, error)
            return False
        return True

    async def _make_sandbox(self, pod: Pod) -> None:
        if not self._choose_address(pod):
            return
        of_node = await self._tools.offload(self._tools.node_files)
        spec = sandbox_spec(pod, self.memory.address, of_node)
        try:
            self.observed.sandbox = await self._tools.sandbox.create(spec)
        except SandboxFailed as error:
            self._sandbox_failed(pod, error)
            return
        self.memory.address = self.observed.sandbox.address
        self.memory.former = {status.id for status in self.observed.all()}
        self.memory.failures.pop("", None)

    def _sandbox_failed(self, pod: Pod, error: Exception) -> None:
        text = f"Failed to create pod sandbox: {error}"
        self.memory.fail("", "FailedCreatePodSandBox", text, self._tools.clock.monotonic())
        self._tools.record(pod, "", "Warning", "FailedCreatePodSandBox", text)

    def _begin_pull(self, step: planner.EnsureImage, pod: Pod, config: Config) -> None:
        """Ensure an image beside everything else, in place of another of the same container."""
        name = step.container.name
        if name in self._pulls:
            self._pulls.pop(name).cancel()
        self.memory.pulls[name] = step.container.image
        work = self._pull_beside(step, pod, config)
        self._pulls[name] = asyncio.create_task(work, name=f"image of {name}")

    async def _pull_beside(self, step: planner.EnsureImage, pod: Pod, config: Config) -> None:
        """Ensure an image; the end wakes the pod's worker."""
        try:
            await self._ensure_image(step, pod, config)
        except base.RuntimeFailure as error:  # the runtime is away
            extra = {"object": _named(pod), "error": str(error)}
            log.warning("an image is asked for again", extra=extra)
            await self._tools.clock.sleep(RETRY_SECONDS)
        except Exception:  # a mistake of ours
            log.exception("an image is asked for again", extra={"object": _named(pod)})
            await self._tools.clock.sleep(RETRY_SECONDS)
        del self.memory.pulls[step.container.name]
        self._wake()

    def end_pulls(self) -> None:
        """Leave images alone that are not here yet."""
        for name in list(self._pulls):
            self._pulls.pop(name).cancel()
        self.memory.pulls.clear()

    async def _ensure_image(self, step: planner.EnsureImage, pod: Pod, config: Config) -> None:
        """Look for the image, and fetch it when the pull policy says so."""
        container, runtime = step.container, self._tools.runtime
        policy, image = container.imagePullPolicy, container.image
        try:
            found = await runtime.image_status(image)
            if policy == "Never" and found is None:
                text = f'Container image "{image}" is not present with pull policy of Never'
                self._tools.record(pod, container.name, "Warning", "ErrImageNeverPull", text)
                self._image_failed(pod, container, "ErrImageNeverPull", text)
                return
            if policy == "Always" or found is None:
                found = await self._pull(pod, container, config)
            else:
                text = (
                    f'Container image "{image}" already present on machine and can be accessed '
                    "by the pod"
                )
                self._tools.record(pod, container.name, "Normal", "Pulled", text)
        except base.InvalidImageName as error:
            text = f'Failed to apply default image tag "{image}": {error}'
            self._tools.record(pod, container.name, "Warning", "InspectFailed", text)
            self._image_failed(pod, container, "InvalidImageName", text)
            return
        except base.ImagePullFailed as error:
            text = f'Failed to pull image "{image}": {error}'
            self._tools.record(pod, container.name, "Warning", "Failed", text)
            self._image_failed(pod, container, "ErrImagePull", str(error))
            return
        self.memory.failures.pop(container.name, None)
        self.memory.images[container.name] = Ensured(step.attempt, image, found.user)

    async def _pull(self, pod: Pod, container: Container, config: Config) -> ImageStatus:
        tools, image = self._tools, container.image
        tools.record(pod, container.name, "Normal", "Pulling", f'Pulling image "{image}"')
        start = tools.clock.monotonic()
        async with tools.pulls:
            await self._fetch(image, pullsecrets.credentials(pod, image, config))
        found = await tools.runtime.image_status(image)
        if found is None:
            raise base.ImagePullFailed(f"{image} was pulled, and is not there")
        took = f"{tools.clock.monotonic() - start:.3f}s"
        text = (
            f'Successfully pulled image "{image}" in {took} ({took} including waiting). '
            f"Image size: {found.size_bytes} bytes."
        )
        tools.record(pod, container.name, "Normal", "Pulled", text)
        return found

    async def _fetch(self, image: str, logins: list[Login]) -> None:
        """Pull with one login after the other until one works; without any when there is none."""
        errors: dict[str, None] = {}  # each text once, in order
        tries: Sequence[Login | None] = logins or (None,)
        for login in tries:
            try:
                await self._tools.runtime.pull_image(image, credentials=login)
                return
            except base.ImagePullFailed as error:
                errors[str(error)] = None
        text = ", ".join(errors)
        raise base.ImagePullFailed(f"[{text}]" if len(errors) > 1 else text)

    def _image_failed(self, pod: Pod, container: Container, reason: str, text: str) -> None:
        """Remember the failure: the error itself at first, then the back-off."""
        now = self._tools.clock.monotonic()
        name, image = container.name, container.image
        failure = self.memory.fail(name, reason, text, now, image=image)
        self._tools.record(pod, container.name, "Warning", "Failed", f"Error: {reason}")
        if reason == "ErrImagePull" and failure.count > 1:
            failure.reason = "ImagePullBackOff"
            back_off = f'Back-off pulling image "{image}"'
            failure.message = f"{back_off}: {reason}: {text}"
            self._tools.record(pod, container.name, "Normal", "BackOff", back_off)

    async def _create(self, step: planner.CreateContainer, pod: Pod, config: Config) -> None:
        container, tools = step.container, self._tools
        sandbox = self.observed.sandbox
        assert sandbox is not None
        self._note_stable_run(container.name)
        path = termination.path(tools.pods_dir, pod.metadata.uid, container.name, step.attempt)
        around = Surroundings(
            config=config,
            host=tools.host,
            sandbox=sandbox,
            volume_path=lambda volume: tools.volumes.path(pod.metadata.uid, volume),
            log_root=tools.log_root,
            termination_path=str(path),
            image_user=self.memory.images[container.name].user,
        )
        try:
            spec = container_spec(pod, container, step.attempt, around)
            await tools.offload(_prepare_files, Path(spec.log_path), path)
            container_id = await tools.runtime.create_container(spec)
        except ConfigError as error:
            self._create_failed(pod, container, "CreateContainerConfigError", str(error))
            return
        except base.ImageNotFound:
            del self.memory.images[container.name]
            return
        except (base.CreateFailed, OSError) as error:
            self._create_failed(pod, container, "CreateContainerError", str(error))
            return
        self.memory.failures.pop(container.name, None)
        tools.record(pod, container.name, "Normal", "Created", "Container created")
        await self._refresh(container_id)

    def _note_stable_run(self, name: str) -> None:
        """A run of ten minutes ends the back-off: count from it."""
        latest = self.observed.latest(name)
        if latest is None or not latest.started_at or not latest.finished_at:
            return
        if termination.run_seconds(latest) >= STABLE_SECONDS:
            self.memory.stable_from[name] = latest.attempt

    def _create_failed(self, pod: Pod, container: Container, reason: str, text: str) -> None:
        now = self._tools.clock.monotonic()
        self.memory.fail(container.name, reason, text, now, image=container.image)
        self._tools.record(pod, container.name, "Warning", "Failed", f"Error: {text}")

    async def _start(self, step: planner.StartContainer, pod: Pod) -> None:
        status, tools = step.status, self._tools
        try:
            await tools.runtime.start_container(status.id)
        except base.StartFailed as error:
            self.memory.start_failures[status.id] = StartFailure(str(error), tools.clock.now())
            tools.record(pod, status.name, "Warning", "Failed", f"Error: {error}")
            return
        self.memory.failures.pop(status.name, None)
        tools.record(pod, status.name, "Normal", "Started", "Container started")
        await self._refresh(status.id)

    def _begin_stop(self, step: planner.SignalContainer | planner.RunHook, pod: Pod) -> Stop:
        """Note that a container is being stopped, and tell people once."""
        status, now = step.status, self._tools.clock.monotonic()
        if status.id not in self.memory.stops:
            self.memory.stops[status.id] = Stop(since=now, restart=step.restart)
            if step.message:
                self._tools.record(pod, status.name, "Normal", "Killing", step.message)
        return self.memory.stops[status.id]

    async def _signal(self, step: planner.SignalContainer, pod: Pod) -> None:
        status = step.status
        stop = self._begin_stop(step, pod)
        await self._tools.runtime.signal_container(status.id, step.signal)
        self.memory.signalled[status.id] = step.signal
        if stop.term_at is None:
            stop.term_at = self._tools.clock.monotonic()
        await self._refresh(status.id)

    def _begin_hook(self, step: planner.RunHook, pod: Pod) -> None:
        """Run a hook beside everything else; its end wakes the pod's worker."""
        if step.kind == "preStop":
            self._begin_stop(step, pod)
        key = (step.status.id, step.kind)
        self.memory.hooks[key] = "running"
        work = self._hook(step, pod)
        self._hooks[key] = asyncio.create_task(work, name=f"hook {step.kind}")

    async def _hook(self, step: planner.RunHook, pod: Pod) -> None:
        tools, key = self._tools, (step.status.id, step.kind)
        handler = hooks.hook_of(step.container, step.kind)
        assert handler is not None
        address = tools.host.address if pod.spec.hostNetwork else self.memory.address
        try:
            await hook_runner.run(handler, step.container, step.status.id, address, tools)
            self.memory.hooks[key] = "done"
        except hook_runner.HookFailed as error:
            self.memory.hooks[key] = "failed"
            # The reason may hold secrets of the pod: it goes to the log only.
            log.info("a hook failed", extra={"object": pod.metadata.name, "error": str(error)})
            title = "PostStartHook" if step.kind == "postStart" else "PreStopHook"
            tools.record(pod, step.container.name, "Warning", f"Failed{title}", f"{title} failed")
        except Exception:  # the runtime is away, or a mistake of ours: it is called at least once
            log.exception("a hook is called again", extra={"object": pod.metadata.name})
            await tools.clock.sleep(RETRY_SECONDS)
            self.memory.hooks.pop(key, None)
        self._wake()

    def end_hooks(self, *, all_: bool = False) -> None:
        """Leave hooks alone whose containers have ended, or all of them."""
        running = {status.id for status in self.observed.all() if status.state == "running"}
        for key in [key for key in self._hooks if all_ or key[0] not in running]:
            self._hooks.pop(key).cancel()

    async def _remove_container(self, status: ContainerStatus, pod: Pod) -> None:
        """A container with its log and its termination message, as Kubernetes does."""
        tools, attempt = self._tools, status.attempt
        await tools.runtime.remove_container(status.id)
        self.observed.drop(status.id)
        self.memory.forget(status.id)
        log_file = Path(log_path(tools.log_root, pod, status.name, attempt))
        message = termination.path(tools.pods_dir, pod.metadata.uid, status.name, attempt)
        await tools.offload(_remove_files_of, log_file, message)

    async def _remove_sandbox(self, pod: Pod) -> None:
        """Namespaces and volumes of the pod; its address is free for another.

        What is large is removed a slice at a time, for no pod may keep others from their turn.
        """
        tools, uid = self._tools, pod.metadata.uid
        await tools.sandbox.remove(uid)
        self.observed.sandbox = None
        if not await self._remove(pod, tools.volumes.remove, uid):
            self.memory.volumes_version = self.memory.volumes_version or "unknown"
            return
        tools.tokens.forget(uid)
        self.memory.volumes_version = self.memory.address = ""
        self.memory.volumes_made = False

    async def _remove_files(self, pod: Pod) -> None:
        """Logs and termination messages of the pod."""
        tools = self._tools
        logs = Path(log_path(tools.log_root, pod, "x", 0)).parent.parent
        directories = (logs, tools.pods_dir / pod.metadata.uid)
        gone = [await self._remove(pod, remove_tree, directory) for directory in directories]
        self.memory.files_removed = all(gone)

    async def _remove(self, pod: Pod, remove: Callable[[T], bool], what: T) -> bool:
        """Remove something of a pod's; people are told what the kernel refuses."""
        try:
            return await self._tools.offload(remove, what)
        except OSError as error:
            text = f"error killing pod: {error}"
            self._tools.record(pod, "", "Warning", "FailedKillPod", text)
            raise SandboxFailed(text) from error

    async def _refresh(self, container_id: str) -> None:
        """Observe one container anew."""
        status = await self._tools.runtime.container_status(container_id)
        if status is None:
            self.observed.drop(container_id)
        else:
            self.take_in(status)

    def take_in(self, status: ContainerStatus) -> None:
        """Observe a container; the runtime takes one that was lost for a running one."""
        lost_at = self.memory.lost.get(status.id)
        if lost_at is not None and status.state == "running":
            status = replace(
                status, state="exited", pid=0, exit_code=LOST_EXIT_CODE, finished_at=lost_at
            )
        if status.lost:
            status = replace(status, finished_at=self._found_at(status))
        self.observed.put(status)

    def _found_at(self, status: ContainerStatus) -> str:
        """When it was first found that a container had ended with the machine.

        Never before its start: the machine's clock may have been set back since.
        """
        now = self._tools.clock.now()
        if status.started_at:
            now = max(now, times.parse(status.started_at))
        return self.memory.found_at.setdefault(status.id, times.to_time(now))

    def lose(self, container_id: str) -> None:
        """A container's process is gone and its exit code will never be known."""
        now = times.to_time(self._tools.clock.now())
        self.memory.lost[container_id] = now
        self.memory.messages[container_id] = LOST_MESSAGE
        for status in self.observed.all():
            if status.id == container_id:
                self.take_in(status)

    async def note_end(self, container_id: str, pod: Pod) -> bool:
        """A process has ended: observe its container; False while the runtime has not noticed."""
        await self._refresh(container_id)
        found = next((s for s in self.observed.all() if s.id == container_id), None)
        if found is not None and found.state == "running":
            return False
        if found is not None:
            await self.read_message(found, pod)
        return True

    async def read_message(self, status: ContainerStatus, pod: Pod) -> None:
        """Keep the termination message of a container that has ended."""
        if status.id in self.memory.messages:
            return
        tools = self._tools
        container = next(
            (c for c in (*pod.spec.initContainers, *pod.spec.containers) if c.name == status.name),
            None,
        )
        path = termination.path(tools.pods_dir, status.pod_uid, status.name, status.attempt)
        text = await tools.offload(termination.read, path)
        fall_back = container and container.terminationMessagePolicy == "FallbackToLogsOnError"
        if not text and fall_back and status.exit_code:
            text = await tools.offload(termination.log_tail, Path(status.log_path))
        self.memory.messages[status.id] = text


def _named(pod: Pod) -> str:
    """A pod as the log names it."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _remove_files_of(log_file: Path, termination_file: Path) -> None:
    """Remove the files of one attempt; those that are not there are no error."""
    for file in (*log_file.parent.glob(f"{log_file.name}*"), termination_file):
        file.unlink(missing_ok=True)


def _prepare_files(log_file: Path, termination_file: Path) -> None:
    """The directory of the log, and an empty termination message that the container may write."""
    log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    termination_file.parent.mkdir(parents=True, exist_ok=True)
    termination_file.touch()
    termination_file.chmod(0o666)
