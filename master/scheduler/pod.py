"""What the scheduler keeps of a pod: computed once from its bytes, and no Struct with it.

The one exception are affinity, tolerations and spread constraints, kept once a class of pods.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from common.api.podrequests import CPU, MEMORY, PODS, requests
from common.api.types.core_v1 import (
    Affinity,
    Container,
    Pod,
    PodSpec,
    Toleration,
    TopologySpreadConstraint,
)
from common.client.events import reference
from common.client.informer import Item
from master.scheduler.requests import NO_REQUEST, in_effect


@dataclass(frozen=True, slots=True, kw_only=True)
class PodClass:
    """All that decides where a pod may run. Pods of one template are of one class."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    owner: str
    """The uid of the controller, or ''."""
    node_selector: tuple[tuple[str, str], ...]
    affinity: Affinity | None
    tolerations: tuple[Toleration, ...]
    spread: tuple[TopologySpreadConstraint, ...]
    ports: tuple[tuple[str, str, int], ...]
    """(host IP, protocol, port) of each host port."""
    requests: tuple[tuple[str, int], ...]
    nonzero: tuple[int, int]
    """CPU in thousandths and bytes of memory for scoring, never 0."""
    key: bytes
    """Equal for equal classes; hashing it is cheap."""

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def attached(self) -> bool:
        """Whether it has terms of affinity to pods."""
        wanted = self.affinity
        return bool(wanted and (wanted.podAffinity or wanted.podAntiAffinity))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """A pod as the queue, the columns and the cycle know it."""

    key: str
    uid: str
    priority: int
    created: str
    node: str
    deleting: bool
    finished: bool
    wanted: bool
    """Whether its scheduler is to place it: no gates, not placed, not on its way out."""
    scheduler: str
    """The name of the scheduler that is to place it."""
    about: tuple[tuple[str, str], ...]
    """The object reference that Events name."""
    shape: PodClass


SCHEDULER_NAME = "default-scheduler"


def pod_info(item: Item) -> PodInfo:
    """Read a pod."""
    pod = item.decode(Pod)
    spec = pod.spec
    finished = pod.status.phase in ("Succeeded", "Failed")
    free = not spec.schedulingGates and not spec.nodeName
    return PodInfo(
        key=item.key,
        uid=item.uid,
        priority=spec.priority or 0,
        created=pod.metadata.creationTimestamp or "",
        node=spec.nodeName,
        deleting=item.deleting,
        finished=finished,
        wanted=free and not item.deleting and not finished,
        scheduler=spec.schedulerName or SCHEDULER_NAME,
        about=tuple(reference("v1", "Pod", pod.metadata).items()),
        shape=_shape(item, in_effect(pod)),
    )


def _shape(item: Item, spec: PodSpec) -> PodClass:
    """The class of a pod; the expensive parts are computed once a class."""
    owner = item.controller
    key = msgspec.json.encode(
        (
            item.namespace,
            sorted(item.labels.items()),
            owner.uid if owner else "",
            spec.nodeSelector,
            spec.affinity,
            spec.tolerations,
            spec.topologySpreadConstraints,
            spec.hostNetwork,
            [(c.resources, c.ports, c.restartPolicy) for c in spec.containers],
            [(c.resources, c.ports, c.restartPolicy) for c in spec.initContainers],
            spec.resources,
            spec.overhead,
        )
    )
    return _class_of(_Keyed(key, item, spec))


def _sidecars(spec: PodSpec) -> list[Container]:
    """The init containers that run beside the others."""
    return [one for one in spec.initContainers if one.restartPolicy == "Always"]


class _Keyed:
    """A spec that counts as equal to every spec with the same key."""

    def __init__(self, key: bytes, item: Item, spec: PodSpec) -> None:
        self.key = key
        self.item = item
        self.spec = spec

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.key == self.key


@lru_cache(maxsize=4096)
def _class_of(keyed: _Keyed) -> PodClass:
    item, spec = keyed.item, keyed.spec
    owner = item.controller
    asked = requests(spec)
    defaulted = requests(spec, NO_REQUEST)
    return PodClass(
        namespace=item.namespace,
        labels=tuple(sorted(item.labels.items())),
        owner=owner.uid if owner else "",
        node_selector=tuple(sorted(spec.nodeSelector.items())),
        affinity=spec.affinity,
        tolerations=spec.tolerations,
        spread=spec.topologySpreadConstraints,
        ports=tuple(
            (port.hostIP or "0.0.0.0", port.protocol or "TCP", port.hostPort)  # noqa: S104 - all
            for container in (*spec.containers, *_sidecars(spec))
            for port in container.ports
            if port.hostPort
        ),
        requests=tuple((asked | {PODS: 1}).items()),
        nonzero=(defaulted.get(CPU, 0), defaulted.get(MEMORY, 0)),
        key=keyed.key,
    )
