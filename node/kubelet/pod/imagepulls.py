"""The image pull policy and back-off, and the Events about images. Pure.

Source: https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy, and
pkg/kubelet/images/image_manager.go for the words.
"""

from __future__ import annotations

from common.api.types.core_v1 import Container
from node.kubelet.pod.events import PodEvent, normal, warning
from node.kubelet.pod.memory import CheckedImage, Moment, PodMemory
from node.kubelet.pod.outcomes import (
    ImageInspected,
    ImageNameInvalid,
    ImagePulled,
    ImagePullFailed,
)


def inspected(outcome: ImageInspected, memory: PodMemory, now: Moment) -> list[PodEvent]:
    """By the pull policy the image is used as it is, or pulled, or its absence is an error."""
    container, image = outcome.container, outcome.image
    policy, name = container.imagePullPolicy, container.name
    if policy == "Never" and image is None:
        text = f'Container image "{container.image}" is not present with pull policy of Never'
        event = warning(name, "ErrImageNeverPull", text)
        return [event, *_failed(container, "ErrImageNeverPull", text, memory, now)]
    if policy == "Always" or image is None:
        memory.images[name] = CheckedImage(outcome.attempt, container.image, ready=False)
        return []
    _ready(outcome, image.user, memory)
    text = (
        f'Container image "{container.image}" already present on machine and can be accessed '
        "by the pod"
    )
    return [normal(name, "Pulled", text)]


def pulled(outcome: ImagePulled, memory: PodMemory) -> list[PodEvent]:
    """The image is here."""
    _ready(outcome, outcome.image.user, memory)
    took = f"{outcome.took_seconds:.3f}s"
    text = (
        f'Successfully pulled image "{outcome.container.image}" in {took} ({took} including '
        f"waiting). Image size: {outcome.image.size_bytes} bytes."
    )
    return [normal(outcome.container.name, "Pulled", text)]


def pull_failed(outcome: ImagePullFailed, memory: PodMemory, now: Moment) -> list[PodEvent]:
    """Back off; the image is inspected again before the next pull: somebody may have loaded it."""
    container = outcome.container
    text = f'Failed to pull image "{container.image}": {outcome.message}'
    event = warning(container.name, "Failed", text)
    return [event, *_failed(container, "ErrImagePull", outcome.message, memory, now)]


def name_invalid(outcome: ImageNameInvalid, memory: PodMemory, now: Moment) -> list[PodEvent]:
    """The text is not a reference to an image."""
    container = outcome.container
    text = f'Failed to apply default image tag "{container.image}": {outcome.message}'
    event = warning(container.name, "InspectFailed", text)
    return [event, *_failed(container, "InvalidImageName", text, memory, now)]


def _ready(outcome: ImageInspected | ImagePulled, user: str, memory: PodMemory) -> None:
    name, image = outcome.container.name, outcome.container.image
    memory.failures.pop(name, None)
    memory.images[name] = CheckedImage(outcome.attempt, image, ready=True, user=user)


def _failed(
    container: Container, reason: str, text: str, memory: PodMemory, now: Moment
) -> list[PodEvent]:
    """ErrImagePull at first, ImagePullBackOff from the second time on."""
    name = container.name
    memory.images.pop(name, None)
    failure = memory.fail(name, reason, text, now.monotonic, image=container.image)
    events = [warning(name, "Failed", f"Error: {reason}")]
    if reason == "ErrImagePull" and failure.count > 1:
        back_off = f'Back-off pulling image "{container.image}"'
        failure.reason = "ImagePullBackOff"
        failure.message = f"{back_off}: {reason}: {text}"
        events.append(normal(name, "BackOff", back_off))
    return events
