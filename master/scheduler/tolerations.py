"""Whether a pod puts up with a taint.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from common.api.types.core_v1 import Toleration
from master.scheduler.columns import Bools, Columns

HARD = ("NoSchedule", "NoExecute")


def tolerates(tolerations: Iterable[Toleration], taint: tuple[str, str, str]) -> bool:
    """Whether one of the tolerations matches a taint (key, value, effect)."""
    return any(_matches(toleration, *taint) for toleration in tolerations)


def _matches(toleration: Toleration, key: str, value: str, effect: str) -> bool:
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.key and toleration.key != key:
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in ("Gt", "Lt"):
        return _compares(toleration, value)
    return toleration.value == value and bool(toleration.key)


def _compares(toleration: Toleration, value: str) -> bool:
    """Gt and Lt compare whole numbers: the taint's value with the toleration's."""
    try:
        have, bound = int(value), int(toleration.value)
    except ValueError:
        return False
    return have > bound if toleration.operator == "Gt" else have < bound


def untolerated(tolerations: tuple[Toleration, ...], columns: Columns) -> Bools:
    """The nodes with a taint that keeps the pod away."""
    sets = [
        any(
            effect in HARD and not tolerates(tolerations, (key, value, effect))
            for key, value, effect in taints
        )
        for taints in columns.taint_sets
    ]
    return np.array(sets or [False], np.bool_)[columns.taint_set]
