"""The priority of pods. There are no PriorityClass objects yet, only the two of the system.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.types.core_v1 import Pod
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

PREEMPTION_POLICY = "PreemptLowerPriority"
_CLASSES = {
    "": 0,
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


async def priority(ctx: Context, target: Target, new: Any, old: Any) -> None:
    """Set the priority of a pod's class, and keep it; raises StatusError 403."""
    if not isinstance(new, Pod):
        return
    if old is not None:
        if new.spec.priority is None:
            new.spec.priority = old.spec.priority
        new.spec.preemptionPolicy = new.spec.preemptionPolicy or old.spec.preemptionPolicy
        return
    why = _fill(new)
    if why:
        raise errors.forbidden_request(target.resource, new.metadata.name, why)


def _fill(pod: Pod) -> str:
    """Set priority and policy; answers what is wrong, if anything."""
    spec = pod.spec
    computed = _CLASSES.get(spec.priorityClassName)
    if computed is None:
        return f"no PriorityClass with name {spec.priorityClassName} was found"
    if spec.priority not in (None, computed):
        return (
            f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
            f"priority admission controller computed {computed} from the given PriorityClass name"
        )
    if spec.preemptionPolicy not in (None, PREEMPTION_POLICY):
        return (
            f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided "
            f"in pod spec; priority admission controller computed {PREEMPTION_POLICY} from the "
            "given PriorityClass name"
        )
    spec.priority, spec.preemptionPolicy = computed, PREEMPTION_POLICY
    return ""
