"""What the kubelet asks of a container runtime and of a sandbox maker: protocols and values."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

POD_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What a pod's UID is; anything else is not taken for the name of a directory of ours."""
ID_SCHEME = "podman://"
LABEL_POD_UID = "io.wherry.pod.uid"
LABEL_POD_NAMESPACE = "io.wherry.pod.namespace"
LABEL_POD_NAME = "io.wherry.pod.name"
LABEL_CONTAINER = "io.wherry.container.name"
LABEL_ATTEMPT = "io.wherry.container.attempt"
LABEL_IMAGE = "io.wherry.container.image"
LABEL_RESOURCES = "io.wherry.container.resources"

UNCONFINED = "unconfined"
PAGE_BYTES = 4096
PERIOD_US = 100_000
"""What CPU quotas are of: 100 ms."""
State = Literal["created", "running", "exited", "unknown"]


class RuntimeFailure(Exception):
    """Anything that a runtime answers but success."""


class RuntimeUnavailable(RuntimeFailure):
    """The runtime's service does not answer, or fails; what was asked may have been done."""


class ImageNotFound(RuntimeFailure):
    """The image is not on this machine."""


class ImagePullFailed(RuntimeFailure):
    """A registry did not give the image; the message says why."""


class ImageLoadFailed(RuntimeFailure):
    """An archive has no images that can be taken; the message says why."""


class InvalidImageName(RuntimeFailure):
    """The text is not a reference to an image."""


class CreateFailed(RuntimeFailure):
    """The runtime refused to make the container."""


class StartFailed(RuntimeFailure):
    """The container was made but its process could not be started."""


class ContainerNotFound(RuntimeFailure):
    """The runtime has no such container."""


class ExecFailed(RuntimeFailure):
    """A command could not be run in a container; the message says why."""


class LimitsRefused(RuntimeFailure):
    """A container could not be held to other limits; the message says why."""


class BelowUsage(LimitsRefused):
    """A container uses as much memory as it is to have, or more."""

    def __init__(self, limit_bytes: int, usage_bytes: int) -> None:
        super().__init__(f"memory limit ({limit_bytes}) below current usage ({usage_bytes})")


class AttachFailed(RuntimeFailure):
    """The streams of a container's process cannot be had; the message says why."""


class ExecTimedOut(RuntimeFailure):
    """A command did not end in time; it has been killed."""


class NotOurs(RuntimeFailure):
    """The container was not made by Wherry: it is not touched."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the machine inside a container."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the kernel holds a container to; 0 where it holds it to nothing."""

    memory_bytes: int = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    """Of each period of PERIOD_US."""
    cpu_weight: int = 0
    """What version 2 of cgroups has in place of shares; only ever read."""

    def differences(self, wanted: Limits) -> set[Literal["cpu", "memory"]]:
        """In what these, as the kernel has them, are not those that were asked for.

        A 0 asks for nothing. The kernel keeps whole pages, systemd quotas of whole hundredths.
        """
        found: set[Literal["cpu", "memory"]] = set()
        pages = wanted.memory_bytes // PAGE_BYTES
        if wanted.memory_bytes and pages != self.memory_bytes // PAGE_BYTES:
            found.add("memory")
        rounded_us = self.cpu_quota_us - wanted.cpu_quota_us
        if wanted.cpu_quota_us and not 0 <= rounded_us < PERIOD_US // 100:
            found.add("cpu")
        if self.cpu_weight and self.cpu_weight not in weights(wanted.cpu_shares):
            found.add("cpu")
        if not self.cpu_weight and self.cpu_shares != wanted.cpu_shares:
            found.add("cpu")
        return found


def weights(cpu_shares: int) -> tuple[int, int]:
    """What OCI runtimes write as the weight of a container: the older ones, and those since 2025.

    Source: KEP-2254, https://github.com/kubernetes/kubernetes/issues/131216.
    """
    shares = max(2, cpu_shares)
    exponent = math.log2(shares)
    power = (exponent * exponent + 125 * exponent) / 612 - 7 / 34
    return 1 + (shares - 2) * 9999 // 262142, math.ceil(10**power)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything that a container is made from. Paths are absolute; sizes in bytes."""

    pod_uid: str
    pod_namespace: str
    pod_name: str
    name: str
    attempt: int
    image: str
    resources: str = ""
    """What it was asked to have, for whoever made it: the runtime keeps it as it is."""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    groups: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    netns_path: str = ""
    ipcns_path: str = ""
    utsns_path: str = ""
    pidns_path: str = ""
    """Of a process whose PID namespace it joins; one of its own without."""
    host_pid: bool = False
    host_ipc: bool = False
    memory_limit_bytes: int = 0
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    pids_limit: int = 4096
    oom_score_adj: int = 0
    read_only_root: bool = False
    privileged: bool = False
    capabilities_add: Sequence[str] = ()
    capabilities_drop: Sequence[str] = ()
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    """A file that filters system calls, or UNCONFINED; empty for the runtime's own."""
    stdin: bool = False
    tty: bool = False
    log_path: str = ""
    oci_runtime: str = ""
    """The runtime's own choice without one."""

    @property
    def runtime_name(self) -> str:
        """The container's name in the runtime: unique for each attempt."""
        return runtime_name(self.pod_uid, self.name, str(self.attempt))

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which a later kubelet knows its containers."""
        return {
            LABEL_POD_UID: self.pod_uid,
            LABEL_POD_NAMESPACE: self.pod_namespace,
            LABEL_POD_NAME: self.pod_name,
            LABEL_CONTAINER: self.name,
            LABEL_ATTEMPT: str(self.attempt),
            LABEL_IMAGE: self.image,
            LABEL_RESOURCES: self.resources,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """A container as the runtime sees it. Times are RFC 3339 or empty.

    `image` is the runtime's name of the image, `asked_image` what the container was made from; it
    is empty where that is not known.
    """

    id: str
    pod_uid: str
    pod_namespace: str
    pod_name: str
    name: str
    attempt: int
    state: State
    pid: int = 0
    started_at: str = ""
    finished_at: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    image: str = ""
    image_id: str = ""
    asked_image: str = ""
    resources: str = ""
    """As in its specification: what it was made with, whatever its limits are now."""
    limits: Limits | None = None
    """Of one that runs, as the kernel has them; None where that is not known."""
    stop_signal: str = "TERM"
    """Asks its first process to end: the image's, a name or a number."""
    cgroup_path: str = ""
    log_path: str = ""
    layer_path: str = ""
    """Where what it writes outside of volumes is on the machine; empty where that is not known."""
    lost: bool = False
    """It ended with the machine: neither when nor how is known, and `finished_at` is empty."""


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """An image on this machine."""

    id: str
    names: Sequence[str]
    size_bytes: int
    user: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a container ended, and what it printed: at most 10 KiB of it."""

    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Stdio:
    """Which standard streams are wanted. With a terminal, stderr comes on stdout."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    terminal: bool = False


STDOUT, STDERR = 1, 2


class Streams(Protocol):
    """The standard streams of a process in a container. Calls raise RuntimeUnavailable."""

    async def read(self) -> tuple[int, bytes]:
        """(STDOUT or STDERR, what it has written); no bytes once nothing more comes."""
        ...

    async def write(self, data: bytes) -> None:
        """Give it input; waits until the runtime takes more. What nobody can read is dropped."""
        ...

    async def close_stdin(self) -> None:
        """It reads the end of its input."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Set the size of its terminal, in characters."""
        ...

    async def exit_code(self) -> int:
        """How a command has ended, once nothing more comes of it; 0 of what was attached to.

        Raises ExecFailed when nobody knows.
        """
        ...


def uri(container_id: str) -> str:
    """A container's id as the API has it."""
    return f"{ID_SCHEME}{container_id}"


def runtime_name(pod_uid: str, name: str, attempt: str) -> str:
    """What a runtime calls an attempt of a pod's container."""
    return f"wherry-{pod_uid}-{name}-{attempt}"


class Runtime(Protocol):
    """A container runtime. Touches only containers with our labels and the name that they tell."""

    async def version(self) -> str:
        """The runtime's version; raises RuntimeUnavailable."""
        ...

    async def list_containers(self) -> list[ContainerStatus]:
        """Every container of ours, running or not; never another. Raises RuntimeUnavailable."""
        ...

    async def container_status(self, container_id: str) -> ContainerStatus | None:
        """One container of ours, or None when it is gone. Raises NotOurs."""
        ...

    async def create_container(self, spec: ContainerSpec) -> str:
        """Make a container and answer its id; one of the same name is answered as it is.

        Raises ImageNotFound, InvalidImageName, CreateFailed, or NotOurs when another's container
        has the name.
        """
        ...

    async def start_container(self, container_id: str) -> None:
        """Start its process; one that has been started is left alone, also when it has ended.

        Raises StartFailed, ContainerNotFound or NotOurs.
        """
        ...

    async def signal_container(self, container_id: str, signal: str) -> None:
        """Send a signal to its first process; one that has ended or gone is no error.

        Raises NotOurs.
        """
        ...

    async def set_limits(self, container_id: str, limits: Limits) -> None:
        """Hold a running container to other limits; a 0 leaves what there is.

        Raises BelowUsage, and changes nothing, when it uses that much memory already;
        LimitsRefused, ContainerNotFound or NotOurs.
        """
        ...

    async def remove_container(self, container_id: str) -> None:
        """Remove it, running or not; one that is gone is no error. Raises NotOurs."""
        ...

    async def exec_sync(
        self, container_id: str, command: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        """Run a command in a running container and wait for its end; 0 waits for ever.

        Holds up no other call. Raises ExecTimedOut, ExecFailed when it cannot be started, or
        RuntimeUnavailable.
        """
        ...

    def exec(
        self, container_id: str, command: Sequence[str], stdio: Stdio
    ) -> AbstractAsyncContextManager[Streams]:
        """A command that runs in a running container; at the end of the block it is killed.

        One that cannot be started says so on stderr and has an exit code of 126 or 127, or raises
        ExecFailed. Raises RuntimeUnavailable.
        """
        ...

    def attach(self, container_id: str, stdio: Stdio) -> AbstractAsyncContextManager[Streams]:
        """The streams of a container's first process, from now on; it runs on after the block.

        Without a terminal, the end of the block is the end of an input that was asked for.
        Raises AttachFailed, also when it has ended, or RuntimeUnavailable.
        """
        ...

    async def image_status(self, reference: str) -> ImageStatus | None:
        """The image, or None when it is not on this machine. Raises InvalidImageName."""
        ...

    async def list_images(self) -> list[ImageStatus]:
        """Every image on this machine."""
        ...

    async def load_images(self, archive: AsyncIterator[bytes], size_bytes: int) -> list[str]:
        """Take the images of an archive, as `docker save` and OCI have them; their names.

        Raises ImageLoadFailed, RuntimeUnavailable, and what the iterator raises.
        """
        ...

    async def pull_image(
        self, reference: str, *, credentials: tuple[str, str] | None = None
    ) -> None:
        """Fetch an image. Raises ImagePullFailed or InvalidImageName."""
        ...


class HostPort(msgspec.Struct, frozen=True):
    """A port of the machine that leads to one of a pod."""

    port: int
    protocol: str
    """TCP, UDP or SCTP"""
    pod_port: int
    address: str = ""
    """One of the machine's; empty for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a pod's containers share. `address` is empty for pods on the machine's network."""

    pod_uid: str
    pod_namespace: str
    pod_name: str
    hostname: str
    address: str = ""
    hosts: str = ""
    resolv_conf: str = ""
    shm_bytes: int = 64 << 20
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Values by path below /proc/sys, of the pod's network or its IPC."""
    host_ports: Sequence[HostPort] = ()

    @property
    def host_network(self) -> bool:
        """Whether the pod uses the machine's own network."""
        return not self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus:
    """A sandbox that is there. Paths of namespaces are empty where the machine's are used.

    Shared memory is the pod's own on the machine's network, too; hostIPC is of each container.
    """

    pod_uid: str
    pod_namespace: str
    pod_name: str
    address: str
    netns_path: str
    ipcns_path: str
    utsns_path: str
    directory: str
    ready: bool


class Sandbox(Protocol):
    """Makes the namespaces that a pod's containers join."""

    async def create(self, spec: SandboxSpec) -> SandboxStatus:
        """Make a pod's sandbox; what is there of it already is kept.

        Raises SandboxFailed, also when another pod has one of its ports of the machine.
        """
        ...

    async def remove(self, pod_uid: str) -> None:
        """Remove all of it; one that is not there is no error."""
        ...

    async def list(self) -> list[SandboxStatus]:
        """Every sandbox on this machine."""
        ...

    async def socket(self, netns_path: str) -> socket.socket:
        """A TCP socket in a pod's network, or in the machine's own; it does not block.

        Raises SandboxFailed when that network is gone.
        """
        ...


class SandboxFailed(Exception):
    """A step of making a sandbox failed; the message says which and why."""


def timed_out_message(command: Sequence[str], timeout_seconds: float) -> str:
    """What Kubernetes says of a command that did not end in time."""
    return f'command timed out: "{" ".join(command)}" timed out after {timeout_seconds:g}s'
