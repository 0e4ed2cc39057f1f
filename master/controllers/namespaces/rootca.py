"""Every active namespace has the ConfigMap with which pods check the API server's certificate.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api.resource import Resource
from common.api.types.core_v1 import ConfigMap
from common.api.types.meta_v1 import ObjectMeta
from common.client.commands import Command, Create, Update
from common.client.informer import Item
from master.controllers.base import View
from master.controllers.lib.namespaces import active, namespace_of
from master.controllers.lib.resources import CONFIG_MAPS

NAME = "kube-root-ca.crt"


class RootCaController:
    """Creates the ConfigMap and puts it right when somebody has changed it."""

    name: ClassVar[str] = "rootca"
    account: ClassVar[str] = "root-ca-cert-publisher"
    watches: ClassVar[Sequence[str]] = ("namespaces", "configmaps")

    def __init__(self, ca_pem: Callable[[], bytes]) -> None:
        self._ca_pem = ca_pem

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The namespace, when it or its ConfigMap has changed."""
        return namespace_of(resource, old, new, NAME)

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Create what is missing, restore what differs."""
        if not active(view, key):
            return []
        item = view["configmaps"].get(key, NAME)
        data = {"ca.crt": self._ca_pem().decode()}
        if item is None:
            body = ConfigMap(metadata=ObjectMeta(name=NAME, namespace=key), data=data)
            reason = f"namespace {key} has no root certificate"
            return [Create(resource=CONFIG_MAPS, namespace=key, body=body, reason=reason)]
        config_map = item.decode(ConfigMap)
        if config_map.data == data:
            return []
        config_map.data = data
        reason = f"root certificate of namespace {key} was changed"
        return [Update(resource=CONFIG_MAPS, body=config_map, reason=reason)]
