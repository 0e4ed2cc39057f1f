"""Which checks a standard consists of, and what they find in a pod."""

from __future__ import annotations

from functools import cache

from common.api.types.core_v1 import PodSpec
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.admission.podsecurity import baseline, restricted
from master.apiserver.admission.podsecurity.policy import Standard
from master.apiserver.admission.podsecurity.violations import Check, Violation


def violations(standard: Standard, meta: ObjectMeta, spec: PodSpec) -> list[Violation]:
    """Everything by which a pod is not within a standard."""
    found = (check(meta, spec) for check in _checks(standard.level, standard.minor))
    return [one for one in found if one is not None]


@cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    """The checks of a level in one minor version; those that it shares with baseline come first."""
    if level == "privileged":
        return ()
    own = restricted.CHECKS if level == "restricted" else {}
    own = {name: made for name, made in own.items() if made[0] <= minor}
    shared = {name: made for name, made in baseline.CHECKS.items() if name not in own}
    every = (*shared.values(), *own.values())
    return tuple(make(minor) for since, make in every if since <= minor)
