"""What counts of a pod's requests: while it is resized, and where it has none. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from common.api import conditions, quantity
from common.api.podrequests import CPU, MEMORY
from common.api.types import Quantity
from common.api.types.core_v1 import Container, ContainerStatus, Pod, PodSpec

NO_REQUEST = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What scoring counts for a container without requests, so that such pods spread, too."""


def in_effect(pod: Pod) -> PodSpec:
    """The spec with what counts for each container while a resize is under way: the most of what
    is wanted, what its kubelet has set aside, and what it has; without what is wanted where the
    kubelet has said that it will never have it.
    """
    statuses = {
        status.name: status
        for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
        if status.resources is not None
    }
    if not statuses:
        return pod.spec
    pending = conditions.find(pod.status.conditions, "PodResizePending")
    infeasible = pending is not None and pending.reason == "Infeasible"
    return replace(
        pod.spec,
        containers=tuple(
            _in_effect(one, statuses.get(one.name), infeasible) for one in pod.spec.containers
        ),
        initContainers=tuple(
            _in_effect(one, statuses.get(one.name), infeasible)
            if one.restartPolicy == "Always"
            else one
            for one in pod.spec.initContainers
        ),
    )


def _in_effect(container: Container, status: ContainerStatus | None, infeasible: bool) -> Container:
    wanted = container.resources.requests
    if status is None or status.resources is None:
        return container
    known = [status.allocatedResources, status.resources.requests]
    if all(amounts == wanted for amounts in known):
        return container
    most: dict[str, Quantity] = {}
    for held in known if infeasible else [wanted, *known]:
        for name, amount in held.items():
            if name not in most or quantity.parse(amount) > quantity.parse(most[name]):
                most[name] = amount
    return replace(container, resources=replace(container.resources, requests=most))
