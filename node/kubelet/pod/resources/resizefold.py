"""What comes of resizes: the changes of what is remembered, and the Events. Pure.

Source of the Events: pkg/kubelet/events/resize.go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import msgspec

from common.api.types.core_v1 import Pod
from node.kubelet.pod import outcomes
from node.kubelet.pod.events import PodEvent, normal, warning
from node.kubelet.pod.memory import BACKOFF, MESSAGE_MAX, Failure, Observed, PodMemory
from node.kubelet.pod.resources import resizing
from node.runtime.base import Limits


def fold(outcome: outcomes.Resize, pod: Pod, memory: PodMemory, monotonic: float) -> list[PodEvent]:
    """Change `memory` by what came of a resize; `pod` is as wanted."""
    resize = memory.resize
    match outcome:
        case outcomes.ResourcesRecalled():
            memory.allocated = dict(outcome.allocated)
            resize.recalled, resize.begun = True, outcome.resized
            resize.generation = resizing.generation_in_progress(pod)
        case outcomes.ResourcesAllocated():
            return _allocated(outcome, pod, memory)
        case outcomes.ResizeRefused():
            pending = resize.pending = outcome.pending
            title = f"Pod resize {pending.reason}"
            text = _message(title, pod, pod.metadata.generation, pending.message)
            return [warning("", f"Resize{pending.reason}", text)]
        case outcomes.RoomMade():
            resize.pending = None
        case outcomes.LimitsSet():
            former = resize.limits.get(outcome.container_id, Limits())
            resize.limits[outcome.container_id] = _over(former, outcome.limits)
            resize.failure = None
        case outcomes.LimitsNotSet():
            return _not_set(outcome, pod, memory, monotonic)
        case _:
            assert_never(outcome)
    return []


def _allocated(outcome: outcomes.ResourcesAllocated, pod: Pod, memory: PodMemory) -> list[PodEvent]:
    resize = memory.resize
    resize.pending = resize.failure = None
    if memory.allocated == outcome.resources:
        return []
    memory.allocated = dict(outcome.resources)
    resize.begun, resize.generation = True, pod.metadata.generation
    text = _message("Pod resize started", pod, pod.metadata.generation)
    return [normal("", "ResizeStarted", text)]


def _not_set(
    outcome: outcomes.LimitsNotSet, pod: Pod, memory: PodMemory, monotonic: float
) -> list[PodEvent]:
    resize, former = memory.resize, memory.resize.failure
    count = 1 if former is None else former.count + 1
    retry_at = monotonic + BACKOFF.delay_seconds(count)
    resize.failure = Failure("Error", outcome.message[:MESSAGE_MAX], count, retry_at)
    if former is not None and former.message == resize.failure.message:
        return []
    generation = resize.generation or pod.metadata.generation
    held = resizing.allocated(pod, memory)
    text = _message("Pod resize error", held, generation, outcome.message)
    return [warning("", "ResizeError", text)]


def completed(pod: Pod, observed: Observed, memory: PodMemory) -> list[PodEvent]:
    """Notice that all containers have what is set aside for them since a resize."""
    resize = memory.resize
    held = resizing.allocated(pod, memory)
    if resize.generation is None or resizing.in_progress(held, observed, memory):
        return []
    generation, resize.generation, resize.failure = resize.generation, None, None
    return [normal("", "ResizeCompleted", _message("Pod resize completed", held, generation))]


def _over(former: Limits, set_now: Limits) -> Limits:
    """Limits of which a 0 has left the former ones."""
    return replace(
        former,
        memory_bytes=set_now.memory_bytes or former.memory_bytes,
        cpu_shares=set_now.cpu_shares or former.cpu_shares,
        cpu_quota_us=set_now.cpu_quota_us or former.cpu_quota_us,
    )


def _message(title: str, pod: Pod, generation: int, error: str = "") -> str:
    """The title, and in JSON what the pod's containers are to have."""
    summary: dict[str, Any] = {
        kind: [{"name": one.name, "resources": _plain(one.resources)} for one in containers]
        for kind, containers in (
            ("initContainers", pod.spec.initContainers),
            ("containers", pod.spec.containers),
        )
        if containers
    }
    summary["generation"] = generation
    if error:
        summary["error"] = error
    return f"{title}: {msgspec.json.encode(summary).decode()}"


def _plain(resources: Any) -> dict[str, Any]:
    """Amounts by name, as Go writes them."""
    given = {"limits": resources.limits, "requests": resources.requests}
    return {kind: dict(sorted(amounts.items())) for kind, amounts in given.items() if amounts}
