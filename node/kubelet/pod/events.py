"""The events of a pod, as values: what people are told. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple


class PodEvent(NamedTuple):
    """An Event of a pod, or of one of its containers."""

    container: str
    """Empty for the pod."""
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def warning(container: str, reason: str, message: str) -> PodEvent:
    """An event that something is not as it should be."""
    return PodEvent(container, "Warning", reason, message)


def normal(container: str, reason: str, message: str) -> PodEvent:
    """An event that all goes well."""
    return PodEvent(container, "Normal", reason, message)
