"""Steps: what the planner asks for, and the executor does. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.api.types.core_v1 import Container, ResourceRequirements
from node.kubelet.pod.hooks import HookKind
from node.runtime.base import ContainerStatus, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do for a pod, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeAddress(Step):
    """Take an address of this node's block, for the pod to keep until its sandbox is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeVolumes(Step):
    """Make the pod's volumes, or bring them up to date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureVolumes(Step):
    """Begin to measure what the pod takes of the disk, as far as it has limits."""

    containers: Sequence[ContainerStatus] = ()
    """Those that run, where some have a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSandbox(Step):
    """Make the namespaces that the containers join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectImage(Step):
    """Begin to look whether an image is on this machine."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage(Step):
    """Begin to pull an image."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer(Step):
    """Create an attempt of a container."""

    container: Container
    attempt: int
    image_user: str
    """The user that the image names; empty for none."""
    joins_pid: int = 0
    """The process whose PID namespace it joins; 0 for one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer(Step):
    """Start a container that has been created."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalContainer(Step):
    """Send the stop signal or KILL. `message` is of the Killing event, recorded once a stop."""

    status: ContainerStatus
    signal: str
    message: str = ""
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHook(Step):
    """Begin a lifecycle hook; a preStop hook begins the stop of its container."""

    status: ContainerStatus
    container: Container
    kind: HookKind
    message: str = ""
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateResources(Step):
    """Set CPU and memory aside for a resized pod, and keep in mind how much."""

    resources: Mapping[str, ResourceRequirements]
    """By container name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLimits(Step):
    """Hold a running container to other limits."""

    status: ContainerStatus
    limits: Limits
    """A 0 leaves what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer(Step):
    """Remove a container that has ended."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox(Step):
    """Remove the namespaces and the volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFiles(Step):
    """Remove logs and termination messages, the last that is left on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGone(Step):
    """Tell the master that nothing of the pod is left on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPod(Step):
    """End the pod as Failed."""

    failure: str
    message: str
    event: Literal["Normal", "Warning"] = "Normal"
    grace_seconds: int | None = None
    """In place of the pod's own; None for that."""
    refused: bool = False
    """The machine does not take the pod: it never had containers, and reports none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Step):
    """Nothing to do for so many seconds, unless something changes before."""

    seconds: float
