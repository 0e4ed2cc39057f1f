"""Secrets that ask for a token of a service account get it, and go when their account has gone; no
account lists one that has gone.

Source: https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets and
k8s.io/kubernetes pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from common.api.resource import Resource
from common.api.types.core_v1 import Secret, ServiceAccount
from common.api.wellknown import ACCOUNT_NAME, ACCOUNT_TOKEN, ACCOUNT_UID
from common.client.commands import Command, Delete, Requeue, Update
from common.client.informer import Item, split_key
from master.controllers.base import View
from master.controllers.lib.resources import SECRETS, SERVICE_ACCOUNTS

LAG_SECONDS = 1.0
SignToken = Callable[[str, str, str, str], str]
"""(Secret, namespace, service account, its uid) -> token."""


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] = {}


class _Partial(msgspec.Struct):
    """What says of a Secret whether it is one of these."""

    metadata: _Metadata
    type: str = ""


class AccountTokenController:
    """One key is one Secret. What it holds already stays, but for the authority."""

    name: ClassVar[str] = "serviceaccounttoken"
    account: ClassVar[str] = "tokens-controller"
    watches: ClassVar[Sequence[str]] = ("secrets", "serviceaccounts")

    def __init__(self, ca_pem: Callable[[], bytes], sign: SignToken) -> None:
        self._ca_pem = ca_pem
        self._sign = sign
        self._secrets: dict[str, set[str]] = {}
        """The keys of Secrets by that of the service account that they name, so that nobody's
        Secrets are read anew for each account that comes or goes."""

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """The Secret; all Secrets of a service account that has come or gone."""
        if resource.plural == "secrets":
            return self._keys_of_secret(old, new)
        account = new or old
        if account is None or (old and new and old.uid == new.uid):
            return []
        return sorted(self._secrets.get(account.key, ()))

    def _keys_of_secret(self, old: Item | None, new: Item | None) -> Iterable[str]:
        if old is not None and (name := _account_of(old)):
            known = self._secrets.get(f"{old.namespace}/{name}", set())
            known.discard(old.key)
            if not known:
                self._secrets.pop(f"{old.namespace}/{name}", None)
            if new is None:
                return [old.key]
        if new is None or not (name := _account_of(new)):
            return []
        self._secrets.setdefault(f"{new.namespace}/{name}", set()).add(new.key)
        return [new.key]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Fill in what is missing, or delete a Secret of nobody; take one that has gone off the
        lists of its namespace's accounts.

        A service account that its informer does not show may merely be news to it.
        """
        item = view["secrets"].by_key(key)
        if item is None:
            return list(_removals(key, view))
        if item.deleting or not (name := _account_of(item)):
            return []
        account, secret = view["serviceaccounts"].get(item.namespace, name), item.decode(Secret)
        wanted = secret.metadata.annotations.get(ACCOUNT_UID, "")
        if account is not None and wanted in ("", account.uid):
            return self._fill(secret, account)
        if view["serviceaccounts"].revision < item.revision:
            return [Requeue(after_seconds=LAG_SECONDS, reason="an informer is behind")]
        return [
            Delete(
                resource=SECRETS,
                namespace=item.namespace,
                name=item.name,
                uid=item.uid,
                reason=f"there is no service account {name} with that uid any more",
            )
        ]

    def _fill(self, secret: Secret, account: Item) -> list[Command]:
        if secret.immutable:
            return []
        meta, data = secret.metadata, dict(secret.data)
        data["ca.crt"] = self._ca_pem()
        data["namespace"] = data.get("namespace") or meta.namespace.encode()
        if not data.get("token"):
            token = self._sign(meta.name, meta.namespace, account.name, account.uid)
            data["token"] = token.encode()
        if data == secret.data:
            return []
        secret.data = data
        meta.annotations = {**meta.annotations, ACCOUNT_UID: account.uid}
        reason = f"it asks for a token of service account {account.name}"
        return [Update(resource=SECRETS, body=secret, reason=reason)]


def _removals(key: str, view: View) -> Iterator[Command]:
    """Kubernetes changes the account only that the Secret was of: here nobody knows it any more."""
    namespace, name = split_key(key)
    for item in view["serviceaccounts"].list(namespace):
        if name.encode() not in item.data:
            continue
        account = item.decode(ServiceAccount)
        left = tuple(one for one in account.secrets if one.name != name)
        if left != account.secrets:
            account.secrets = left
            yield Update(
                resource=SERVICE_ACCOUNTS,
                body=account,
                reason=f"there is no Secret {name} any more",
            )


def _account_of(secret: Item) -> str:
    """The name of the service account whose token a Secret asks for; '' for other Secrets."""
    partial = secret.decode(_Partial)
    if partial.type != ACCOUNT_TOKEN:
        return ""
    return partial.metadata.annotations.get(ACCOUNT_NAME, "")
