"""A container runtime in memory: the Runtime protocol with scripted programs and faults.

For tests, simulations and nodes without containers. It passes the contract suite that Podman
passes (tests/contract/runtime).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from common.runtime.clock import Clock
from node.runtime import base
from node.runtime.base import ContainerSpec, ContainerStatus, ImageStatus, Limits, Stdio, Streams
from node.runtime.reference import check_reference

Command = tuple[str, ...]
KILLED_EXIT_CODE = 137
NOT_FOUND_EXIT_CODE = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a command does. By default it runs until it is killed and ignores TERM, as most
    programs do that run as a container's first process."""

    exit_code: int | None = None
    """Exits with this as soon as it is started; None runs on."""
    term_exit_code: int | None = None
    """Exits with this on TERM; None ignores TERM."""
    start_error: str = ""
    """Cannot be started, with this message."""


@dataclass(slots=True)
class FakeRuntime:
    """The Runtime protocol without containers.

    Tests set what is there (`images`, `registry`, `programs`), break it (`available`, `faults`)
    and end a process from outside (`end`). `calls` names every call in order.
    """

    clock: Clock
    images: dict[str, ImageStatus] = field(default_factory=dict)
    registry: dict[str, ImageStatus] = field(default_factory=dict)
    programs: dict[Command, Program] = field(default_factory=dict)
    execs: dict[Command, int | None] = field(default_factory=dict)
    """Command -> its exit code; None for one that hangs. Others cannot be run."""
    memory_bytes: dict[str, int] = field(default_factory=dict)
    """Container id -> the memory that it uses; others use none."""
    available: bool = True
    faults: dict[int, Exception] = field(default_factory=dict)
    """Raised by the call of that number (the first is 1), before it does anything."""
    calls: list[str] = field(default_factory=list)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    _containers: dict[str, ContainerStatus] = field(default_factory=dict)
    _made: int = 0

    def add_images(self, *references: str) -> None:
        """Put images on the machine."""
        for reference in references:
            self.images[reference] = fake_image(reference)

    def end(self, container_id: str, exit_code: int, *, oom_killed: bool = False) -> None:
        """The container's process ends now, by itself."""
        if self._containers[container_id].state == "running":
            self._change(
                container_id,
                state="exited",
                pid=0,
                limits=None,
                exit_code=exit_code,
                oom_killed=oom_killed,
                finished_at=self._now(),
            )

    def stop_service(self) -> None:
        """The service goes away; its containers run on. `available = True` brings it back."""
        self.available = False

    def check_invariants(self) -> None:
        """At most one container runs for each name of a pod."""
        running = [
            (status.pod_uid, status.name)
            for status in self._containers.values()
            if status.state == "running"
        ]
        assert len(running) == len(set(running)), f"two run at once: {sorted(running)}"

    async def version(self) -> str:
        """A version that no runtime has."""
        self._call("version")
        return "0.0.0-fake"

    async def list_containers(self) -> list[ContainerStatus]:
        """Every container."""
        self._call("list_containers")
        return list(self._containers.values())

    async def container_status(self, container_id: str) -> ContainerStatus | None:
        """One container, or None."""
        self._call(f"container_status {container_id}")
        return self._containers.get(container_id)

    async def create_container(self, spec: ContainerSpec) -> str:
        """Make a container, or find it by its name."""
        self._call(f"create_container {spec.runtime_name}")
        check_reference(spec.image)
        for container_id, known in self.specs.items():
            if known.runtime_name == spec.runtime_name:
                return container_id
        if spec.image not in self.images:
            raise base.ImageNotFound(f"{spec.image}: image not known")
        self._made += 1
        container_id = f"{self._made:064x}"
        self.specs[container_id] = spec
        self._containers[container_id] = ContainerStatus(
            id=container_id,
            pod_uid=spec.pod_uid,
            pod_namespace=spec.pod_namespace,
            pod_name=spec.pod_name,
            name=spec.name,
            attempt=spec.attempt,
            state="created",
            image=spec.image,
            image_id=self.images[spec.image].id,
            asked_image=spec.image,
            resources=spec.resources,
            log_path=spec.log_path,
        )
        return container_id

    async def start_container(self, container_id: str) -> None:
        """Start its program."""
        self._call(f"start_container {self._named(container_id)}")
        if self._containers[container_id].state != "created":
            return
        spec = self.specs[container_id]
        program = self.programs.get(tuple(spec.command), Program())
        if program.start_error:
            raise base.StartFailed(program.start_error)
        pid = 1000 + int(container_id, 16)
        limits = Limits(
            memory_bytes=spec.memory_limit_bytes,
            cpu_shares=spec.cpu_shares,
            cpu_quota_us=spec.cpu_quota_us,
        )
        self._change(container_id, state="running", pid=pid, started_at=self._now(), limits=limits)
        if program.exit_code is not None:
            self.end(container_id, program.exit_code)

    async def signal_container(self, container_id: str, signal: str) -> None:
        """KILL ends it; TERM does what its program says."""
        if container_id not in self._containers:
            self._call(f"signal_container {container_id} {signal}")
            return
        self._call(f"signal_container {self._named(container_id)} {signal}")
        program = self.programs.get(tuple(self.specs[container_id].command), Program())
        if signal == "KILL":
            self.end(container_id, KILLED_EXIT_CODE)
        elif program.term_exit_code is not None:
            self.end(container_id, program.term_exit_code)

    async def set_limits(self, container_id: str, limits: Limits) -> None:
        """Take those that are not 0."""
        self._call(f"set_limits {self._named(container_id)}")
        former = self._containers[container_id].limits
        if former is None:
            raise base.LimitsRefused(f"container {container_id} is not running")
        used = self.memory_bytes.get(container_id, 0)
        if limits.memory_bytes and limits.memory_bytes <= used:
            raise base.BelowUsage(limits.memory_bytes, used)
        made = Limits(
            memory_bytes=limits.memory_bytes or former.memory_bytes,
            cpu_shares=limits.cpu_shares or former.cpu_shares,
            cpu_quota_us=limits.cpu_quota_us or former.cpu_quota_us,
        )
        self._change(container_id, limits=made)

    async def remove_container(self, container_id: str) -> None:
        """Remove it, running or not."""
        if container_id not in self._containers:
            self._call(f"remove_container {container_id}")
            return
        self._call(f"remove_container {self._named(container_id)}")
        del self._containers[container_id]
        del self.specs[container_id]

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> base.ExecResult:
        """What `execs` says of the command."""
        self._call(f"exec_sync {self._named(container_id)} {' '.join(command)}")
        if tuple(command) not in self.execs:
            raise base.ExecFailed(f"{command[0]}: executable file not found in $PATH")
        if self._containers[container_id].state != "running":
            raise base.ExecFailed(f"container {container_id} is not running")
        code = self.execs[tuple(command)]
        if code is not None:
            return base.ExecResult(code, "")
        if not timeout_seconds:
            await asyncio.Event().wait()
        await self.clock.sleep(timeout_seconds)
        raise base.ExecTimedOut(base.timed_out_message(command, timeout_seconds))

    @asynccontextmanager
    async def exec(
        self, container_id: str, command: Sequence[str], stdio: Stdio
    ) -> AsyncIterator[Streams]:
        """A command that writes what it reads, and exits as `execs` says; one that hangs reads on
        after its input has ended."""
        self._call(f"exec {self._named(container_id)} {' '.join(command)}")
        if self._containers[container_id].state != "running":
            raise base.ExecFailed(f"container {container_id} is not running")
        if tuple(command) not in self.execs:
            yield FakeStreams(NOT_FOUND_EXIT_CODE, stdin=False)
            return
        yield FakeStreams(self.execs[tuple(command)], stdin=stdio.stdin)

    @asynccontextmanager
    async def attach(self, container_id: str, stdio: Stdio) -> AsyncIterator[Streams]:
        """A process that writes what it reads."""
        self._call(f"attach {self._named(container_id)}")
        if self._containers[container_id].state != "running":
            raise base.AttachFailed(f"container {container_id} is not running")
        yield FakeStreams(0, stdin=stdio.stdin)

    async def image_status(self, reference: str) -> ImageStatus | None:
        """The image, or None."""
        self._call(f"image_status {reference}")
        check_reference(reference)
        return self.images.get(reference)

    async def list_images(self) -> list[ImageStatus]:
        """Every image."""
        self._call("list_images")
        return list(self.images.values())

    async def load_images(self, archive: AsyncIterator[bytes], size_bytes: int) -> list[str]:
        """Take the images that the archive's manifest names."""
        self._call(f"load_images {size_bytes}")
        data = b"".join([piece async for piece in archive])
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as opened:
                manifest = opened.extractfile("manifest.json")
                assert manifest is not None
                names = [name for one in json.load(manifest) for name in one["RepoTags"]]
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise base.ImageLoadFailed(str(error)) from error
        self.add_images(*names)
        return names

    async def pull_image(
        self, reference: str, *, credentials: tuple[str, str] | None = None
    ) -> None:
        """Fetch an image out of `registry`."""
        self._call(f"pull_image {reference}")
        check_reference(reference)
        if reference not in self.registry:
            raise base.ImagePullFailed(f"{reference}: manifest unknown")
        self.images[reference] = self.registry[reference]

    def _call(self, text: str) -> None:
        """Note a call, and fail it when that is its turn."""
        self.calls.append(text)
        fault = self.faults.pop(len(self.calls), None)
        if fault is not None:
            raise fault
        if not self.available:
            raise base.RuntimeUnavailable("the fake runtime is switched off")

    def _named(self, container_id: str) -> str:
        """The runtime's name of a container; raises ContainerNotFound."""
        if container_id not in self.specs:
            raise base.ContainerNotFound(f"no such container {container_id}")
        return self.specs[container_id].runtime_name

    def _change(self, container_id: str, **fields: object) -> None:
        status = replace(self._containers[container_id], **fields)  # type: ignore[arg-type]
        self._containers[container_id] = status

    def _now(self) -> str:
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class FakeStreams:
    """The Streams protocol: what is written comes back on stdout."""

    def __init__(self, exit_code: int | None, *, stdin: bool) -> None:
        self._exit_code = exit_code
        self._written: asyncio.Queue[bytes] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        if not stdin:
            self._written.put_nowait(b"")

    async def read(self) -> tuple[int, bytes]:
        """What was written; for ever nothing of a command that hangs."""
        data = await self._written.get()
        if not data and self._exit_code is None:
            await asyncio.Event().wait()
        return base.STDOUT, data

    async def write(self, data: bytes) -> None:
        """Input."""
        self._written.put_nowait(data)

    async def close_stdin(self) -> None:
        """The end of it."""
        self._written.put_nowait(b"")

    async def resize(self, width: int, height: int) -> None:
        """Note it."""
        self.sizes.append((width, height))

    async def exit_code(self) -> int:
        """As the test has it."""
        assert self._exit_code is not None
        return self._exit_code


def fake_image(reference: str, *, user: str = "") -> ImageStatus:
    """An image of that name."""
    mark = hashlib.sha256(reference.encode()).hexdigest()
    return ImageStatus(f"sha256:{mark}", (reference,), 1 << 20, user)
