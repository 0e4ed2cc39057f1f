"""Every active namespace has a ServiceAccount named `default`.

Source: https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api.resource import Resource
from common.api.types.core_v1 import ServiceAccount
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Create
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.namespaces import active, namespace_of
from master.controllers.lib.resources import SERVICE_ACCOUNTS

DEFAULT = "default"


class ServiceAccountController:
    """Creates the ServiceAccount, also after somebody has deleted it."""

    name: ClassVar[str] = "serviceaccount"
    account: ClassVar[str] = "service-account-controller"
    watches: ClassVar[Sequence[str]] = ("namespaces", "serviceaccounts")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The namespace, when it has changed or has lost its ServiceAccount."""
        return namespace_of(resource, old, new, DEFAULT)

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Create what is missing."""
        if not active(view, key) or view["serviceaccounts"].get(key, DEFAULT) is not None:
            return []
        body = ServiceAccount(metadata=ObjectMeta(name=DEFAULT, namespace=key))
        reason = f"namespace {key} has no default service account"
        return [Create(resource=SERVICE_ACCOUNTS, namespace=key, body=body, reason=reason)]
