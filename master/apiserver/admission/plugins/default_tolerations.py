"""Pods stay five minutes on a node that is not ready or cannot be reached, unless they say else.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#defaulttolerationseconds
"""

from __future__ import annotations

from typing import Any

from common.api.types.core_v1 import Pod, Toleration
from common.api.wellknown import NOT_READY, UNREACHABLE
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

SECONDS = 300
_TAINTS = (NOT_READY, UNREACHABLE)


async def default_tolerations(ctx: Context, target: Target, new: Any, old: Any) -> None:
    """Add a toleration for each of the two taints that the pod does not speak of."""
    if not isinstance(new, Pod):
        return
    for taint in _TAINTS:
        if not any(_covers(toleration, taint) for toleration in new.spec.tolerations):
            added = Toleration(
                key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=SECONDS
            )
            new.spec.tolerations = (*new.spec.tolerations, added)


def _covers(toleration: Toleration, taint: str) -> bool:
    return toleration.key in ("", taint) and toleration.effect in ("", "NoExecute")
