"""Events about a pod, as values. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple


class PodEvent(NamedTuple):
    """An Event about a pod, or about one of its containers."""

    container: str
    """Empty for one about the pod."""
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def warning(container: str, reason: str, message: str) -> PodEvent:
    """An Event of type Warning."""
    return PodEvent(container, "Warning", reason, message)


def normal(container: str, reason: str, message: str) -> PodEvent:
    """An Event of type Normal."""
    return PodEvent(container, "Normal", reason, message)
