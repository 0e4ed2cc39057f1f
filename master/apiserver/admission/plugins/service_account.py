"""Every pod runs as a service account of its namespace, `default` unless it names another.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#serviceaccount
"""

from __future__ import annotations

from typing import Any

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import LocalObjectReference, Pod, ServiceAccount
from common.api.wellknown import MIRROR_POD
from common.runtime.rng import Rng
from master.apiserver.admission import tokenvolume
from master.apiserver.registry.freshness import fresh
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.watchcache import WatchCache

DEFAULT = "default"


class PodServiceAccount:
    """Admission of new pods; the pods of nodes' own manifests have no account."""

    def __init__(self, cache: WatchCache, rng: Rng) -> None:
        self._cache = cache
        self._rng = rng

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Name the account, mount its token, and take its pull secrets.

        Raises StatusError 403 without one.
        """
        if old is not None or not isinstance(new, Pod):
            return
        if MIRROR_POD in new.metadata.annotations:
            return
        spec = new.spec
        spec.serviceAccountName = spec.serviceAccountName or DEFAULT
        spec.serviceAccount = spec.serviceAccountName
        account = await self._find(new.metadata.namespace, spec.serviceAccountName)
        if account is None:
            path = f"{new.metadata.namespace}/{spec.serviceAccountName}"
            why = (
                f"error looking up service account {path}: "
                f'serviceaccount "{spec.serviceAccountName}" not found'
            )
            raise errors.forbidden_request(target.resource, new.metadata.name, why)
        if tokenvolume.is_wanted(new, account):
            tokenvolume.mount(new, self._rng.suffix())
        if not spec.imagePullSecrets:
            spec.imagePullSecrets = tuple(
                LocalObjectReference(name=secret.name) for secret in account.imagePullSecrets
            )

    async def _find(self, namespace: str, name: str) -> ServiceAccount | None:
        """The account; a cache that lags behind is waited for before the answer is no."""
        entry = self._cache.find("serviceaccounts", name, namespace)
        if entry is None:
            await fresh(self._cache)
            entry = self._cache.find("serviceaccounts", name, namespace)
        return codec.decode(entry.data, ServiceAccount) if entry is not None else None
