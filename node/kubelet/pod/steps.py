"""What can be done for a pod, as values: planned by the planner, taken by the executor. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.api.types.core_v1 import Container
from node.kubelet.pod.hooks import HookKind
from node.runtime.base import ContainerStatus


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
    """Begin to count what the pod's volumes take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSandbox(Step):
    """Make the namespaces that the containers join."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectImage(Step):
    """Begin to ask whether an image is on this machine."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage(Step):
    """Begin to fetch an image from its registry."""

    container: Container
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer(Step):
    """Make an attempt of a container."""

    container: Container
    attempt: int
    image_user: str
    """The user that the image names; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer(Step):
    """Start the process of a container that has been made."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalContainer(Step):
    """Send the stop signal or KILL. The first of a stop says why to people, by `message`."""

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
class RemoveContainer(Step):
    """Remove a container that has ended."""

    status: ContainerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox(Step):
    """Remove the namespaces and the volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFiles(Step):
    """Remove logs and termination messages: all that is left on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportGone(Step):
    """Nothing is left: tell the master."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPod(Step):
    """End the pod as Failed."""

    failure: str
    message: str
    event: Literal["Normal", "Warning"] = "Normal"
    grace_seconds: int | None = None
    """In place of the pod's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Step):
    """Nothing to do for so many seconds, unless something changes."""

    seconds: float
