"""Who shows the token of a service account, and for how long it counts.

It counts while the account is there, and the pod, secret or node that it is bound to: looked up in
the watch cache with each request. The token of a Secret counts while the Secret holds it. Source:
k8s.io/kubernetes pkg/serviceaccount, claims.go and legacy.go.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Collection, Iterator
from functools import lru_cache

import msgspec

from common.api import times
from common.api.codec import json as codec
from common.runtime.clock import Clock
from common.security.identity import BoundObject, Identity
from master.apiserver.auth import accounttokens
from master.apiserver.auth.accounttokens import (
    API_AUDIENCES,
    LEEWAY_SECONDS,
    Bound,
    Claims,
    InvalidToken,
    LegacyClaims,
    TokenKeys,
)
from master.storage.watchcache import WatchCache

GROUP = "system:serviceaccounts"
_EXTRA = "authentication.kubernetes.io/"
KNOWN_MAX = 1024
"""Tokens of ours that are remembered: a signature takes a tenth of a millisecond to check."""
INVALIDATED = "service account token has been invalidated"
ANOTHER = "Token does not match server's copy"
_WHAT = {"serviceaccounts": "service account", "pods": "pod", "secrets": "secret", "nodes": "node"}


class _Metadata(msgspec.Struct, gc=False):
    uid: str = ""
    deletionTimestamp: str | None = None


class _Data(msgspec.Struct, gc=False):
    """Of a Secret; in base64."""

    token: str = ""


class _Object(msgspec.Struct, gc=False):
    """What must be read of an object that a token is bound to."""

    metadata: _Metadata
    data: _Data = msgspec.field(default_factory=_Data)


class ServiceAccounts:
    """Answers from the watch cache."""

    def __init__(self, keys: TokenKeys, cache: WatchCache, clock: Clock) -> None:
        self.keys = keys
        self._read = lru_cache(KNOWN_MAX)(keys.read)
        self._cache = cache
        self._clock = clock

    def authenticate(
        self, token: str, audiences: Collection[str] = API_AUDIENCES
    ) -> tuple[Identity, tuple[str, ...]]:
        """(who shows a token, those of the audiences that it is for). Raises InvalidToken."""
        claims = self._read(token)
        common = accounttokens.check(claims, audiences, self._clock.now().timestamp())
        if isinstance(claims, Claims):
            identity = identity_of(claims)
        else:
            identity = _identity_of_legacy(claims, token)
        if problem := self.problem(identity):
            raise InvalidToken(problem)
        return identity, common

    def recognize(self, token: str) -> Identity | None:
        """Who shows a token that is for the API server; None for any other."""
        try:
            return self.authenticate(token)[0]
        except InvalidToken:
            return None

    def problem(self, identity: Identity) -> str:
        """Why a token does not count any more; '' when it does, and for who has shown none."""
        if not identity.bound:
            return ""
        if identity.expires < self._clock.now().timestamp():
            return "service account token has expired"
        leeway = 0 if math.isinf(identity.expires) else LEEWAY_SECONDS
        return next(filter(None, (self._problem_of(each, leeway) for each in identity.bound)), "")

    def _problem_of(self, bound: BoundObject, leeway: int) -> str:
        entry = self._cache.find(bound.plural, bound.name, bound.namespace)
        if entry is None:
            return INVALIDATED
        obj = codec.decode(entry.data, _Object)
        meta = obj.metadata
        if bound.digest:
            if hashlib.sha256(base64.b64decode(obj.data.token)).digest() != bound.digest:
                return ANOTHER
        elif meta.uid != bound.uid:
            return f"{_WHAT[bound.plural]} UID ({meta.uid}) does not match claim ({bound.uid})"
        if meta.deletionTimestamp is None:
            return ""
        since = times.age_seconds(meta.deletionTimestamp, self._clock.now())
        return INVALIDATED if not leeway or since > leeway else ""


def identity_of(claims: Claims) -> Identity:
    """The user that a service account is, with what its token says."""
    bound = claims.bound
    return Identity(
        claims.user,
        _groups_of(bound.namespace),
        expires=claims.exp + LEEWAY_SECONDS,
        uid=bound.serviceaccount.uid,
        extra=dict(_extra(claims)),
        bound=tuple(_objects(bound)),
    )


def _identity_of_legacy(claims: LegacyClaims, token: str) -> Identity:
    """The same, for a token that stands in a Secret: it has no end of its own."""
    digest = hashlib.sha256(token.encode()).digest()
    secret = BoundObject("secrets", claims.namespace, claims.secret, "", digest)
    account = BoundObject("serviceaccounts", claims.namespace, claims.account, claims.uid)
    groups = _groups_of(claims.namespace)
    return Identity(claims.user, groups, uid=claims.uid, bound=(secret, account))


def _groups_of(namespace: str) -> tuple[str, ...]:
    return GROUP, f"{GROUP}:{namespace}"


def _objects(bound: Bound) -> Iterator[BoundObject]:
    """Those whose end is the end of the token; a pod's node stands there to be told only."""
    namespace, account = bound.namespace, bound.serviceaccount
    yield BoundObject("serviceaccounts", namespace, account.name, account.uid)
    if bound.pod is not None:
        yield BoundObject("pods", namespace, bound.pod.name, bound.pod.uid)
    elif bound.node is not None:
        yield BoundObject("nodes", "", bound.node.name, bound.node.uid)
    if bound.secret is not None:
        yield BoundObject("secrets", namespace, bound.secret.name, bound.secret.uid)


def _extra(claims: Claims) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield f"{_EXTRA}credential-id", (f"JTI={claims.jti}",)
    for kind, ref in (("node", claims.bound.node), ("pod", claims.bound.pod)):
        if ref is not None:
            yield f"{_EXTRA}{kind}-name", (ref.name,)
            if ref.uid:
                yield f"{_EXTRA}{kind}-uid", (ref.uid,)
