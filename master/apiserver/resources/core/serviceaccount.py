"""Rules of ServiceAccount. Source: k8s.io/kubernetes pkg/registry/core/serviceaccount."""

from __future__ import annotations

from common.api.types.core_v1 import ObjectReference, ServiceAccount
from master.apiserver.registry.catalogue import Rules
from master.apiserver.registry.strategy import Strategy

MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"


class ServiceAccountStrategy(Strategy):
    """Secrets of an account are in its namespace: their names are all there is to say."""

    delete_answers_object = True

    def default(self, obj: ServiceAccount) -> None:
        """Nothing but the names."""
        obj.secrets = tuple(ObjectReference(name=secret.name) for secret in obj.secrets)

    def warnings(self, obj: ServiceAccount, old: ServiceAccount | None = None) -> list[str]:
        """An annotation that goes away."""
        before = old is not None and MOUNTABLE in old.metadata.annotations
        if MOUNTABLE not in obj.metadata.annotations or before:
            return []
        return [
            f"metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces "
            "to isolate access to mounted secrets"
        ]


RULES = {"serviceaccounts": Rules(ServiceAccountStrategy)}
