"""A pod that names a RuntimeClass gets its overhead and goes to the nodes that have the runtime.

Source: https://kubernetes.io/docs/concepts/containers/runtime-class/
"""

from __future__ import annotations

from typing import Any

from common.api import errors, quantity
from common.api.codec import json as codec
from common.api.types import Quantity
from common.api.types.core_v1 import Pod, Toleration
from common.api.types.runtimeclass_v1 import RuntimeClass, Scheduling
from master.apiserver.registry.freshness import fresh
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.watchcache import WatchCache


class PodRuntimeClass:
    """Admission of new pods."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Add what the pod's class says; raises StatusError 403 when that cannot be."""
        if old is not None or not isinstance(new, Pod):
            return
        name, found = new.spec.runtimeClassName, None
        if name is not None:
            found = await self._find(name)
        if name is not None and found is None:
            why = f'pod rejected: RuntimeClass "{name}" not found'
        else:
            why = _apply(new, found or RuntimeClass())
        if why:
            raise errors.forbidden_request(target.resource, new.metadata.name, why)

    async def _find(self, name: str) -> RuntimeClass | None:
        """The class; a cache that lags behind is waited for before the answer is no."""
        entry = self._cache.find("runtimeclasses.node.k8s.io", name)
        if entry is None:
            await fresh(self._cache)
            entry = self._cache.find("runtimeclasses.node.k8s.io", name)
        return codec.decode(entry.data, RuntimeClass) if entry is not None else None


def _apply(pod: Pod, found: RuntimeClass) -> str:
    """Add what a class says to a pod; answers what contradicts it, if anything."""
    overhead = None if found.overhead is None else found.overhead.podFixed
    given = pod.spec.overhead
    if overhead is None and given:
        return "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    if overhead is not None and given and _parsed(given) != _parsed(overhead):
        return "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    pod.spec.overhead = overhead or {}
    return "" if found.scheduling is None else _schedule(pod, found.scheduling)


def _parsed(amounts: dict[str, Quantity]) -> dict[str, Any]:
    return {name: quantity.parse(amount) for name, amount in amounts.items()}


def _schedule(pod: Pod, scheduling: Scheduling) -> str:
    own = pod.spec.nodeSelector
    for label, value in scheduling.nodeSelector.items():
        if own.get(label, value) != value:
            return (
                f"conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; "
                f"pod.spec.nodeSelector[{label}] = {own[label]}"
            )
    pod.spec.nodeSelector = {**own, **scheduling.nodeSelector}
    pod.spec.tolerations = _merged((*pod.spec.tolerations, *scheduling.tolerations))
    return ""


def _merged(tolerations: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
    """Without those that another one covers; of equal ones the first is kept."""
    kept: list[Toleration] = []
    for number, one in enumerate(tolerations):
        later = [other for other in tolerations[number + 1 :] if other != one]
        if not any(_covers(other, one) for other in (*kept, *later)):
            kept.append(one)
    return tuple(kept)


def _covers(wide: Toleration, narrow: Toleration) -> bool:
    """Whether one tolerates all that the other does, for as long."""
    if wide == narrow:
        return True
    if wide.key != narrow.key and (wide.key or wide.operator != "Exists"):
        return False
    if wide.effect not in ("", narrow.effect):
        return False
    limit, asked = wide.tolerationSeconds, narrow.tolerationSeconds
    if wide.effect == "NoExecute" and limit is not None and (asked is None or asked > limit):
        return False
    if wide.operator == "Exists":
        return True
    return (narrow.operator, narrow.value) == ("Equal", wide.value)
