"""Which taints a pod tolerates.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Iterable

from common.api import integers
from common.api.types.core_v1 import Toleration


def tolerates(tolerations: Iterable[Toleration], taint: tuple[str, str, str]) -> bool:
    """Whether one of the tolerations matches a taint (key, value, effect)."""
    return any(matches(toleration, *taint) for toleration in tolerations)


def matches(toleration: Toleration, key: str, value: str, effect: str) -> bool:
    """Whether a toleration is for a taint."""
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
    have, bound = integers.parse(value), integers.parse(toleration.value)
    if have is None or bound is None:
        return False
    return have > bound if toleration.operator == "Gt" else have < bound
