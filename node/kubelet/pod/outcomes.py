"""The outcomes of steps, and what else a pod's worker learns, as values. Pure.

The executor answers them and changes nothing itself; `fold` changes what is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.api.types.core_v1 import Container, Probe, ResourceRequirements
from node.kubelet.pod.hooks import HookKind
from node.kubelet.pod.memory import PendingResize, ProbeKey
from node.kubelet.pod.steps import Step
from node.runtime.base import ContainerStatus, ImageStatus, Limits, SandboxStatus


@dataclass(frozen=True, slots=True)
class Begun:
    """A step is about to be taken."""

    step: Step


@dataclass(frozen=True, slots=True)
class AddressTaken:
    """The pod has an address of its own."""

    address: str


@dataclass(frozen=True, slots=True)
class VolumesMade:
    """Every volume is there, with the content of this version."""

    version: str


@dataclass(frozen=True, slots=True)
class VolumesFailed:
    """Some volume could not be made."""

    message: str


@dataclass(frozen=True, slots=True)
class VolumesMeasured:
    """Volumes and containers with a limit have been measured, and how long that took."""

    bytes_used: Mapping[str, int]
    """By the name of the volume; without those that could not be measured."""
    took_seconds: float
    by_containers: Mapping[str, int] = field(default_factory=dict)
    """By the name of the container, likewise: its logs and what it has written of its own."""


@dataclass(frozen=True, slots=True)
class SandboxMade:
    """The namespaces are there."""

    sandbox: SandboxStatus


@dataclass(frozen=True, slots=True)
class SandboxFailed:
    """There is no address for the sandbox, or it could not be made."""

    message: str


@dataclass(frozen=True, slots=True)
class ImageInspected:
    """The image as it is on this machine; None where it is not."""

    container: Container
    attempt: int
    image: ImageStatus | None


@dataclass(frozen=True, slots=True)
class ImageNameInvalid:
    """The text is not a reference to an image."""

    container: Container
    message: str


@dataclass(frozen=True, slots=True)
class ImagePulled:
    """The image has been fetched, in so many seconds with the wait for others."""

    container: Container
    attempt: int
    image: ImageStatus
    took_seconds: float


@dataclass(frozen=True, slots=True)
class ImagePullFailed:
    """No registry gave the image."""

    container: Container
    message: str


@dataclass(frozen=True, slots=True)
class ImageUnknown:
    """The runtime did not answer for an image: it may be there or not."""

    container: Container


@dataclass(frozen=True, slots=True)
class ContainerCreated:
    """An attempt of a container has been made."""

    name: str
    container_id: str


@dataclass(frozen=True, slots=True)
class ContainerNotCreated:
    """It could not be made: from its configuration, or by the runtime."""

    container: Container
    reason: Literal["CreateContainerConfigError", "CreateContainerError"]
    message: str


@dataclass(frozen=True, slots=True)
class ImageMissing:
    """A container could not be made, as somebody has removed its image meanwhile."""

    container: Container


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """The process of a container has been started."""

    name: str
    container_id: str


@dataclass(frozen=True, slots=True)
class ContainerNotStarted:
    """The process could not be started, which ends the attempt."""

    name: str
    container_id: str
    message: str


@dataclass(frozen=True, slots=True)
class ContainerSignalled:
    """A container has been sent a signal."""

    container_id: str
    signal: str


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """A container as the runtime has it now; None where it is gone."""

    container_id: str
    status: ContainerStatus | None


@dataclass(frozen=True, slots=True)
class ContainerVanished:
    """The process has ended, and so has its monitor (conmon): the runtime will not notice."""

    container_id: str


@dataclass(frozen=True, slots=True)
class MessageRead:
    """What a container that has ended left as its termination message."""

    container_id: str
    message: str


@dataclass(frozen=True, slots=True)
class HookEnded:
    """A hook has ended; "unknown" where the runtime did not answer."""

    container_id: str
    name: str
    kind: HookKind
    result: Literal["done", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """A probe has had an answer."""

    key: ProbeKey
    probe: Probe
    success: bool


@dataclass(frozen=True, slots=True)
class ResourcesRecalled:
    """What is set aside for a pod as this kubelet begins with it."""

    allocated: Mapping[str, ResourceRequirements]
    resized: bool
    """Whether an earlier kubelet has kept it, at a resize."""


@dataclass(frozen=True, slots=True)
class ResourcesAllocated:
    """What a resized pod wants is set aside."""

    resources: Mapping[str, ResourceRequirements]


@dataclass(frozen=True, slots=True)
class ResizeRefused:
    """There is no room for what a resized pod wants."""

    pending: PendingResize


@dataclass(frozen=True, slots=True)
class RoomMade:
    """There is room now for a resize that was deferred; it is kept for it."""


@dataclass(frozen=True, slots=True)
class LimitsSet:
    """A running container is held to other limits."""

    container_id: str
    limits: Limits
    """A 0 has left what there was."""


@dataclass(frozen=True, slots=True)
class LimitsNotSet:
    """A running container could not be held to other limits."""

    container_id: str
    message: str


@dataclass(frozen=True, slots=True)
class ContainerRemoved:
    """A container is gone, with its log and its termination message."""

    container_id: str


@dataclass(frozen=True, slots=True)
class SandboxRemoved:
    """The namespaces are gone, and the volumes or a part of them."""

    volumes_left: bool


@dataclass(frozen=True, slots=True)
class FilesRemoved:
    """Logs and termination messages are gone, or a part of them."""

    files_left: bool


@dataclass(frozen=True, slots=True)
class RemovalFailed:
    """The machine refuses to remove something of the pod."""

    message: str


@dataclass(frozen=True, slots=True)
class Relisted:
    """Everything that exists of the pod on this machine."""

    containers: Sequence[ContainerStatus]
    sandbox: SandboxStatus | None


@dataclass(frozen=True, slots=True)
class RoundBegun:
    """A round of the pod's worker begins: steps are planned next."""


@dataclass(frozen=True, slots=True)
class WorkCancelled:
    """Pulls and the measuring of volumes have been cancelled."""


@dataclass(frozen=True, slots=True)
class PodAssigned:
    """The pod, or something that it references, has changed."""


@dataclass(frozen=True, slots=True)
class PodUnassigned:
    """The pod's object is gone."""


@dataclass(frozen=True, slots=True)
class MachineHalting:
    """The machine shuts down; pods have at most so many seconds."""

    seconds: float


ImageOutcome = (
    ImageInspected | ImageNameInvalid | ImagePulled | ImagePullFailed | ImageUnknown | ImageMissing
)
ContainerOutcome = (
    ContainerCreated
    | ContainerNotCreated
    | ContainerStarted
    | ContainerNotStarted
    | ContainerSignalled
    | ContainerRemoved
    | HookEnded
)
Resize = (
    ResourcesRecalled | ResourcesAllocated | ResizeRefused | RoomMade | LimitsSet | LimitsNotSet
)
Observation = ContainerSeen | ContainerVanished | MessageRead | ProbeAnswered | Relisted
Preparation = (
    AddressTaken | VolumesMade | VolumesFailed | VolumesMeasured | SandboxMade | SandboxFailed
)
Removal = SandboxRemoved | FilesRemoved | RemovalFailed
Notice = RoundBegun | WorkCancelled | PodAssigned | PodUnassigned | MachineHalting
Outcome = (
    Begun | ImageOutcome | ContainerOutcome | Resize | Observation | Preparation | Removal | Notice
)

OF_CONTAINER = (
    ContainerNotStarted,
    ContainerSignalled,
    ContainerVanished,
    HookEnded,
    LimitsNotSet,
    LimitsSet,
    MessageRead,
)
"""These say nothing any more once the container is gone."""
CONTAINER_CHANGES = (ContainerCreated, ContainerStarted, ContainerSignalled, LimitsSet)
"""After these the runtime has something new to say of the container."""
