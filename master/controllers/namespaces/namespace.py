"""Empties a namespace that is being deleted, then lets it go.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/ and
pkg/controller/namespace of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api import conditions
from common.api.resource import Resource
from common.api.types.core_v1 import Namespace, NamespaceCondition
from common.client.commands import Command, Delete, Update
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.resources import NAMESPACES, PODS
from master.controllers.namespaces import deletionstatus

FINALIZER = "kubernetes"


class NamespaceController:
    """Deletes all that is in the namespace; when nothing is left, removes its finalizer.

    Pods go first: what they run may need the rest, a network policy for example, to the end.
    """

    name: ClassVar[str] = "namespace"
    account: ClassVar[str] = "namespace-controller"
    watches: ClassVar[Sequence[str]] = ("*",)

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The namespace itself, and one on its way out when something in it has changed."""
        item = new or old
        if item is None:
            return []
        if resource.plural == "namespaces":
            return [item.name]
        space = view["namespaces"].get("", item.namespace) if item.namespace else None
        return [item.namespace] if space is not None and space.deleting else []

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Delete everything not yet on its way out, or finalize."""
        item = view["namespaces"].get("", key)
        if item is None or not item.deleting:
            return []
        readers = [reader for reader in view if reader.resource.namespaced]
        content = [(reader.resource, child) for reader in readers for child in reader.list(key)]
        namespace = item.decode(Namespace)
        if content:
            pods = [(resource, child) for resource, child in content if resource == PODS]
            told = _tell(namespace, deletionstatus.conditions(content, pods, now))
            return [
                *told,
                *(_delete(r, child) for r, child in pods or content if not child.deleting),
            ]
        if FINALIZER not in namespace.spec.finalizers:
            return []
        left = tuple(name for name in namespace.spec.finalizers if name != FINALIZER)
        namespace.spec.finalizers = left
        reason = f"namespace {key} is empty"
        return [Update(resource=NAMESPACES, body=namespace, reason=reason, subresource="finalize")]


def _tell(namespace: Namespace, found: Sequence[NamespaceCondition]) -> list[Command]:
    """Write the conditions, when they say something new."""
    if not deletionstatus.differ(namespace.status.conditions, found):
        return []
    namespace.status.conditions = conditions.put_all(namespace.status.conditions, found)
    reason = "; ".join(condition.reason for condition in found)
    return [Update(resource=NAMESPACES, body=namespace, reason=reason, subresource="status")]


def _delete(resource: Resource, item: Item) -> Command:
    return Delete(
        resource=resource,
        namespace=item.namespace,
        name=item.name,
        uid=item.uid,
        reason=f"namespace {item.namespace} is being deleted",
        propagation_policy="Background",
    )
