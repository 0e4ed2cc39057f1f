"""The arithmetic of rolling updates: how many pods of which ReplicaSet.

Works on decoded ReplicaSets and returns numbers; nothing is changed. Source:
pkg/controller/deployment/{rolling,sync}.go and util of Kubernetes. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from common.api import integers
from common.api.types.apps_v1 import Deployment, ReplicaSet

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
Scale = list[tuple[ReplicaSet, int]]
"""ReplicaSets with the size that each should get."""
PERCENT_MAX = 10**9
"""What stands for a percentage that is longer than a number: all pods at once."""


def wanted(deployment: Deployment) -> int:
    """How many pods a Deployment wants."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size(replica_set: ReplicaSet) -> int:
    """How many pods a ReplicaSet was told to keep."""
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def sizes(replica_sets: Iterable[ReplicaSet]) -> int:
    """How many pods ReplicaSets were told to keep, together."""
    return sum(size(replica_set) for replica_set in replica_sets)


def available(replica_set: ReplicaSet) -> int:
    """How many pods of a ReplicaSet are available and shall stay; its status may lag behind."""
    return min(size(replica_set), replica_set.status.availableReplicas)


def resolve(value: int | str | None, total: int, *, up: bool) -> int:
    """A number, or a percentage of `total` rounded up or down."""
    if isinstance(value, str):
        percent = integers.parse(value.removesuffix("%"))
        share = (PERCENT_MAX if percent is None else percent) * total
        return -(-share // 100) if up else share // 100
    return value or 0


def fenceposts(deployment: Deployment) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods; never both 0 for a rolling update."""
    strategy = deployment.spec.strategy
    if strategy.type == "Recreate":
        return 0, 0
    total, rolling = wanted(deployment), strategy.rollingUpdate
    surge = resolve(rolling.maxSurge, total, up=True) if rolling else 0
    unavailable = resolve(rolling.maxUnavailable, total, up=False) if rolling else 0
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, total)


def maximum(deployment: Deployment) -> int:
    """The most pods that there may be during an update."""
    return wanted(deployment) + fenceposts(deployment)[0]


def minimum(deployment: Deployment) -> int:
    """The fewest available pods that an update may leave."""
    return wanted(deployment) - fenceposts(deployment)[1]


def new_size(deployment: Deployment, pods: int, new: ReplicaSet) -> int:
    """The next size of the new ReplicaSet: as many more as the surge leaves room for.

    `pods` counts for each ReplicaSet what it was told to keep, or what it still has if that is
    more: upstream counts the former only and can be over the limit for a moment.
    """
    if deployment.spec.strategy.type == "Recreate" or size(new) >= wanted(deployment):
        return wanted(deployment)
    room = max(0, maximum(deployment) - pods)
    return min(size(new) + room, wanted(deployment))


def shrink_old(deployment: Deployment, old: Sequence[ReplicaSet], new: ReplicaSet) -> Scale:
    """Smaller sizes of the old ReplicaSets: first pods that are not available, then, as far as
    enough pods are available without them, healthy ones. Oldest ReplicaSets first.
    """
    target = {replica_set.metadata.name: size(replica_set) for replica_set in old}
    ordered = sorted(old, key=by_age)
    # New pods that are not available yet are not counted as what could replace an old one.
    allowed = sizes([*old, new]) - minimum(deployment) - (size(new) - available(new))
    if allowed <= 0:
        return []
    for replica_set in ordered:
        cut = min(allowed, size(replica_set) - available(replica_set))
        target[replica_set.metadata.name] -= cut
        allowed -= cut
    spare = sum(available(rs) for rs in [*old, new]) - minimum(deployment)
    for replica_set in ordered:
        cut = max(0, min(spare, target[replica_set.metadata.name]))
        target[replica_set.metadata.name] -= cut
        spare -= cut
    return _changed(old, target)


def proportional(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]
) -> Scale:
    """Sizes after the Deployment was scaled in the middle of an update, or while it is paused."""
    everything = [*old, new] if new is not None else list(old)
    active = [replica_set for replica_set in everything if size(replica_set) > 0]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=by_age, default=None)
        return [(only, wanted(deployment))] if only is not None else []
    if new is not None and _is_saturated(deployment, new):
        return [(replica_set, 0) for replica_set in old if size(replica_set) > 0]
    if deployment.spec.strategy.type == "Recreate":
        return []
    room = (maximum(deployment) if wanted(deployment) > 0 else 0) - sizes(active)
    newest_first = room > 0
    active.sort(key=by_age, reverse=newest_first)
    active.sort(key=size, reverse=True)
    target: dict[str, int] = {}
    given = 0
    for replica_set in active:
        share = _share(deployment, replica_set, room, given)
        target[replica_set.metadata.name] = size(replica_set) + share
        given += share
    largest = active[0].metadata.name
    target[largest] = max(0, target[largest] + room - given)
    return [(replica_set, target[replica_set.metadata.name]) for replica_set in active]


def _share(deployment: Deployment, replica_set: ReplicaSet, room: int, given: int) -> int:
    """What a ReplicaSet gets of the pods to add (or, below zero, to take away)."""
    if room == given or room == 0:
        return 0
    fraction = _fraction(deployment, replica_set)
    return min(fraction, room - given) if room > 0 else max(fraction, room - given)


def _fraction(deployment: Deployment, replica_set: ReplicaSet) -> int:
    if wanted(deployment) == 0:
        return -size(replica_set)
    before = _annotated_pods(replica_set, MAXIMUM) or deployment.status.replicas
    if before <= 0:
        return 0
    exact = size(replica_set) * maximum(deployment) / before
    return math.floor(exact + 0.5) - size(replica_set)


def _is_saturated(deployment: Deployment, new: ReplicaSet) -> bool:
    everything = wanted(deployment)
    noted = new.metadata.annotations.get(DESIRED)
    return size(new) == everything == new.status.availableReplicas and noted == str(everything)


def _changed(replica_sets: Sequence[ReplicaSet], target: dict[str, int]) -> Scale:
    return [
        (rs, target[rs.metadata.name])
        for rs in replica_sets
        if target[rs.metadata.name] != size(rs)
    ]


def by_age(replica_set: ReplicaSet) -> tuple[str, str]:
    """A sort key: oldest first."""
    return replica_set.metadata.creationTimestamp or "", replica_set.metadata.name


def was_scaled(deployment: Deployment, everything: Iterable[ReplicaSet]) -> bool:
    """Whether the Deployment wants another number than when its ReplicaSets were last sized."""
    noted = [_annotated_pods(rs, DESIRED) for rs in everything if size(rs) > 0]
    return any(number not in (None, wanted(deployment)) for number in noted)


def _annotated_pods(replica_set: ReplicaSet, key: str) -> int | None:
    """A number of pods in an annotation, which anybody may have written; None if it is none."""
    text = replica_set.metadata.annotations.get(key, "")
    number = integers.parse(text) if text.isdecimal() else None
    return number if number is not None and number < 2**31 else None
