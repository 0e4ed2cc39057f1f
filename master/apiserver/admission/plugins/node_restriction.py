"""What a node may not write, even of the status of objects that are its own.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.types.core_v1 import Node, Pod
from master.apiserver.auth.authorizers.node import node_name
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.apiserver.resources.core.node.noderestriction import check_items, refused_change

_KEPT = ("labels", "annotations", "finalizers")


async def node_restriction(ctx: Context, target: Target, new: Any, old: Any) -> None:
    """Raise StatusError 403 for a node that changes by a status what it may not, 400 for one that
    says too much there.
    """
    if target.subresource != "status":
        return
    node = node_name(ctx.user)
    if node is None:
        return
    if refused := _refused(target, new, old):
        text = f'node "{node}" {refused}'
        raise errors.forbidden_request(target.resource, new.metadata.name, text)
    if isinstance(new, Node | Pod):
        check_items(new.status, old.status)


def _refused(target: Target, new: Any, old: Any) -> str:
    if isinstance(new, Node):
        change = refused_change(new, old)
        return f"is not allowed to {change}" if change else ""
    for field in _KEPT:
        if getattr(new.metadata, field) != getattr(old.metadata, field):
            return f"cannot update {field} through {target.resource.kind.lower()} status"
    return ""
