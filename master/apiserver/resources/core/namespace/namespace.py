"""Rules of Namespace. Source: k8s.io/kubernetes pkg/registry/core/namespace."""

from __future__ import annotations

from typing import Any

from common.api import errors, names
from common.api.errors import FieldError
from common.api.fields import fields
from common.api.types.core_v1 import Namespace, NamespaceStatus
from common.api.wellknown import SYSTEM_NAMESPACES
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy

FIELDS = fields("status.phase")

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
"""Kubernetes lets the leases' namespace go, and makes it again; ours is made at the start only."""


class NamespaceStrategy(Strategy):
    """A namespace is held by a finalizer of its spec until its contents are gone."""

    delete_answers_object = True

    def name_problems(self, name: str) -> list[str]:
        """Namespaces are DNS labels: they become parts of host names."""
        return names.dns_label(name)

    def default(self, obj: Namespace) -> None:
        """The label by which selectors find a namespace."""
        if obj.metadata.name:
            obj.metadata.labels[NAME_LABEL] = obj.metadata.name

    def prepare_create(self, obj: Namespace) -> None:
        """Active, and held by the finalizer."""
        obj.status = NamespaceStatus(phase="Active")
        obj.spec.finalizers = tuple(dict.fromkeys((*obj.spec.finalizers, FINALIZER)))

    def check_delete(self, obj: Namespace) -> None:
        """The cluster itself lives in some namespaces; emptied, they could not be filled again."""
        name = obj.metadata.name
        if name in SYSTEM_NAMESPACES:
            why = "this namespace may not be deleted"
            raise errors.forbidden_request(self.resource, name, why)

    def prepare_update(self, new: Namespace, old: Namespace) -> None:
        """Spec and status have paths of their own."""
        new.status, new.spec = old.status, old.spec

    def validate_update(self, new: Namespace, old: Namespace) -> list[FieldError]:
        """The name label stays."""
        if new.metadata.labels.get(NAME_LABEL) != new.metadata.name:
            path = f"metadata.labels[{NAME_LABEL}]"
            text = f"must be {new.metadata.name}"
            return [errors.invalid(path, new.metadata.labels.get(NAME_LABEL, ""), text)]
        return []

    def validate_status_update(self, new: Any, old: Any) -> list[FieldError]:
        """The phase follows the deletion."""
        deleting = bool(new.metadata.deletionTimestamp)
        if deleting and new.status.phase != "Terminating":
            text = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            return [errors.invalid("status.Phase", new.status.phase, text)]
        if not deleting and new.status.phase != "Active":
            text = "may only be 'Active' if `deletionTimestamp` is empty"
            return [errors.invalid("status.Phase", new.status.phase, text)]
        return []


RULES = {"namespaces": Rules(NamespaceStrategy, fields=FIELDS)}
